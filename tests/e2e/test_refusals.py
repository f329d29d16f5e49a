"""Credentials and routes that the gateway refuses before a handler, and the public routes."""

from __future__ import annotations

import pytest

from support.actors.deployed_tenant import Tenant, open_tenant, unknown_key, with_wrong_checksum
from support.worlds.deployed_stack import Deployed


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_each_bad_credential_is_answered_alike(tenant: Tenant) -> None:
    key = tenant.key
    body = key.removeprefix("hk_")
    bad = {
        "none": None,
        "empty": "",
        "unknown": unknown_key(),
        "wrong checksum": with_wrong_checksum(key),
        "another prefix": f"hb_{body}",
        "upper case": key.upper(),
        "very long": "hk_" + "a" * 5_000,
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
            "code": "AUTH_INVALID_KEY",
            "message": "Unauthorized",
            "detail": "The credential is missing or invalid.",
        }


def test_a_credential_that_is_not_ascii_is_401(tenant: Tenant) -> None:
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


def test_a_key_of_any_surface_works_on_each_surface(tenant: Tenant) -> None:
    services = tenant.call("POST", "/api/auth/keys", json={"name": "x", "scopes": ["*"]})
    admin = tenant.call("POST", "/admin/api-keys", json={"owner": tenant.identity_id})
    keys = {
        "hb": services.json()["key"],
        "hk": tenant.make_key()["key"],
        "chorus": admin.json()["data"]["api_key"],
    }
    for prefix, key in keys.items():
        assert key.startswith(f"{prefix}_")
        for path in ("/api/auth/keys", "/v1/api-keys", "/admin/api-keys"):
            assert tenant.stack.call("GET", path, key=key).status_code == 200


def test_an_unknown_route_is_404(tenant: Tenant) -> None:
    for method, path in (
        ("POST", "/"),
        ("GET", "/api/auth/nothing"),
        ("PUT", "/v1/api-keys"),
        ("DELETE", "/health"),
        ("GET", "/%2e%2e/v1/whoami"),
    ):
        refused = tenant.call(method, path)
        assert refused.status_code == 404, path
        assert refused.json() == {
            "error": "Not Found",
            "status": 404,
            "request_id": refused.headers["x-request-id"],
            "code": "NOT_FOUND",
            "message": "Not Found",
            "detail": "No route has this path and method.",
        }


def test_a_path_with_an_extra_slash_is_404(tenant: Tenant) -> None:
    """The gateway may match the route; then the handler refuses the path."""
    for path in ("/v1/api-keys/", "/v1//whoami", "/v1/whoami/"):
        refused = tenant.call("GET", path)
        assert (refused.status_code, refused.json()["error"]) == (404, "Not Found"), path


def test_health_needs_no_credential(stack: Deployed) -> None:
    for path in ("/health", "/healthz", "/readyz"):
        answer = stack.call("GET", path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["x-request-id"]
    service = stack.call("GET", "/api/health").json()
    assert set(service) == {"status", "modules", "uptime", "version"}
    assert service["status"] == "ok"
    assert service["uptime"] >= 0


def test_the_reference_page_loads_nothing_from_elsewhere(stack: Deployed) -> None:
    spec = stack.call("GET", "/openapi.json")
    assert spec.status_code == 200
    assert spec.json()["openapi"].startswith("3.1")
    page = stack.call("GET", "/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for path in spec.json()["paths"]:
        assert path in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "src=" not in page.text
    assert "<link" not in page.text


def test_a_caller_cannot_set_its_own_source_address(tenant: Tenant) -> None:
    tenant.call("POST", "/v1/api-keys", json={"name": "x"}, headers={"X-Forwarded-For": "8.8.8.8"})

    assert tenant.events()[-1]["source_address"] == "127.0.0.1"
