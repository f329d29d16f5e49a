"""Credentials and routes that are refused before a handler, and what is public."""

import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, badly_summed, open_tenant, unknown_key


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_every_bad_credential_gets_the_same_answer(tenant: Tenant) -> None:
    key = tenant.key
    body = key.removeprefix("hk_")
    bad = {
        "none": None,
        "empty": "",
        "unknown": unknown_key(),
        "bad checksum": badly_summed(key),
        "wrong prefix": f"xx_{body}",
        "other prefix": f"hb_{body}",
        "upper case": key.upper(),
        "too short": key[:-1],
        "too long": key + "0",
        "very long": "hk_" + "a" * 5_000,
        "no prefix": body,
    }
    for name, credential in bad.items():
        headers = {} if credential is None else {"Authorization": f"Bearer {credential}".strip()}
        refused = tenant.stack.call("GET", "/v1/whoami", headers=headers)
        assert refused.status_code == 401, name
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json() == {
            "error": "Unauthorized",
            "status": 401,
            "request_id": refused.headers["x-request-id"],
        }


def test_unicode_in_a_credential_is_refused(tenant: Tenant) -> None:
    odd = f"Bearer {tenant.key[:-1]}é".encode()
    refused = tenant.stack.call("GET", "/v1/whoami", headers={b"Authorization": odd})

    assert refused.status_code == 401


def test_three_headers_are_read_in_order_and_the_first_decides(tenant: Tenant) -> None:
    good, bad = tenant.key, unknown_key()

    def status(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return tenant.stack.call("GET", "/v1/whoami", headers=named).status_code

    assert status(Authorization=f"Bearer {good}") == 200
    assert status(Authorization=f"bearer {good}") == 200
    assert status(X_Hammurabi_Api_Key=good) == 200
    assert status(X_Api_Key=good) == 200
    assert status(Authorization=f"Bearer {bad}", X_Api_Key=good) == 401
    assert status(Authorization=f"Basic {good}", X_Api_Key=good) == 401
    assert status(Authorization=f"Bearer {good}", X_Api_Key=bad) == 200
    assert status(X_Hammurabi_Api_Key=bad, X_Api_Key=good) == 401
    assert tenant.stack.call("GET", f"/v1/whoami?token={good}").status_code == 401


@pytest.mark.parametrize("prefix_of", ["hb", "hk", "chorus"])
def test_any_key_works_on_any_surface(tenant: Tenant, prefix_of: str) -> None:
    made = {
        "hb": lambda: tenant.call(
            "POST", "/api/auth/keys", json={"name": "x", "scopes": ["*"]}
        ).json()["key"],
        "hk": lambda: tenant.make_key()["key"],
        "chorus": lambda: tenant.call(
            "POST", "/admin/api-keys", json={"owner": tenant.identity_id}
        ).json()["data"]["api_key"],
    }[prefix_of]()
    assert made.startswith(f"{prefix_of}_")
    for path in ("/api/auth/keys", "/v1/api-keys", "/admin/api-keys"):
        assert tenant.stack.call("GET", path, key=made).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/auth/nothing"),
        ("PUT", "/v1/api-keys"),
        ("GET", "/admin"),
        ("DELETE", "/health"),
        ("GET", "/%2e%2e/v1/whoami"),
    ],
)
def test_an_unknown_route_is_not_found(tenant: Tenant, method: str, path: str) -> None:
    refused = tenant.call(method, path)

    assert refused.status_code == 404
    assert refused.json() == {
        "error": "Not Found",
        "status": 404,
        "request_id": refused.headers["x-request-id"],
    }


@pytest.mark.parametrize("path", ["/v1/api-keys/", "/v1//whoami", "/v1/whoami/"])
def test_a_path_is_not_tidied_up(tenant: Tenant, path: str) -> None:
    """The gateway may take it for the route; the handler then refuses it in its own words."""
    refused = tenant.call("GET", path)

    assert refused.status_code == 404
    assert refused.json()["error"] == "Not Found"


def test_health_needs_no_credential(stack: Deployed) -> None:
    for path in ("/health", "/healthz", "/readyz"):
        answer = stack.call("GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["x-request-id"]
    service = stack.call("GET", "/api/health").json()
    assert set(service) == {"status", "modules", "uptime", "version"}
    assert service["status"] == "ok"
    assert service["uptime"] >= 0


def test_the_reference_is_served_and_needs_nothing_from_elsewhere(stack: Deployed) -> None:
    spec = stack.call("GET", "/openapi.json")
    assert spec.status_code == 200
    assert spec.json()["openapi"].startswith("3.1")
    page = stack.call("GET", "/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for path in spec.json()["paths"]:
        assert path in page.text
    assert "<script" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_a_caller_does_not_set_its_own_source_address(tenant: Tenant) -> None:
    tenant.call("POST", "/v1/api-keys", json={"name": "x"}, headers={"X-Forwarded-For": "8.8.8.8"})

    assert tenant.events()[-1]["source_address"] == "127.0.0.1"
