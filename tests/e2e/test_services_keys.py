"""The services surface's key routes, over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, hire, open_tenant

VIEW = {
    "id", "name", "prefix", "scopes", "createdBy", "createdAt", "lastUsedAt", "expiresAt",
    "rateLimit", "status",
}  # fmt: skip


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def make(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    made = tenant.call("POST", "/api/auth/keys", json={"name": "worker", **fields})
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


def test_a_key_is_made_shown_once_and_listed_without_its_text(tenant: Tenant) -> None:
    ends = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = make(tenant, scopes=["services:read"], expiresAt=ends, rateLimit=120)

    assert set(made) == VIEW | {"key"}
    assert made["key"].startswith(made["prefix"])
    assert made["prefix"].startswith("hb_")
    assert (made["scopes"], made["rateLimit"], made["status"]) == (["services:read"], 120, "active")
    listed = tenant.call("GET", "/api/auth/keys")
    assert listed.status_code == 200
    (view,) = [entry for entry in listed.json() if entry["id"] == made["id"]]
    assert set(view) == VIEW
    assert made["key"] not in listed.text


def test_a_key_without_scopes_opens_nothing(tenant: Tenant) -> None:
    made = make(tenant)

    refused = tenant.stack.call("GET", "/api/auth/keys", key=made["key"])
    assert refused.status_code == 403
    assert refused.json() == {"error": "Insufficient API key scope", "status": 403}


def test_write_does_not_imply_read(tenant: Tenant) -> None:
    made = make(tenant, scopes=["services:write"])

    assert tenant.stack.call("GET", "/api/auth/keys", key=made["key"]).status_code == 403
    created = tenant.stack.call(
        "POST", "/api/auth/keys", key=made["key"], json={"name": "x", "scopes": ["services:write"]}
    )
    assert created.status_code == 201


def test_lists_are_newest_first_and_status_all_adds_revoked_ones(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    names = [make(tenant, name=f"k{number}")["name"] for number in range(3)]
    gone = make(tenant, name="gone")
    assert tenant.call("DELETE", f"/api/auth/keys/{gone['id']}").status_code == 204

    active = [key["name"] for key in tenant.call("GET", "/api/auth/keys").json()]
    assert active == [*reversed(names), "default"]
    everything = tenant.call("GET", "/api/auth/keys", params={"status": "all"}).json()
    assert (everything[0]["name"], everything[0]["status"]) == ("gone", "revoked")


def test_pages_join_to_the_whole_list(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    for number in range(4):
        make(tenant, name=f"k{number}")
    whole = [key["id"] for key in tenant.call("GET", "/api/auth/keys").json()]

    paged: list[str] = []
    after: dict[str, str] = {}
    for _ in range(5):
        page = tenant.call("GET", "/api/auth/keys", params={"limit": 2, **after})
        paged += [key["id"] for key in page.json()]
        if "x-next-cursor" not in page.headers:
            break
        after = {"after": page.headers["x-next-cursor"]}
    assert paged == whole

    stranger = open_tenant(stack)
    assert stranger.call("GET", "/api/auth/keys", params=after).status_code == 400


@pytest.mark.parametrize("cursor", ["made-up", "", "AAAA", "é", "x" * 5_000])
def test_a_made_up_cursor_is_refused(tenant: Tenant, cursor: str) -> None:
    refused = tenant.call("GET", "/api/auth/keys", params={"after": cursor})

    assert refused.status_code == 400
    assert refused.json() == {"error": "Invalid cursor", "status": 400}


@pytest.mark.parametrize("limit", ["0", "101", "-1", "many"])
def test_a_limit_out_of_range_is_refused_by_name(tenant: Tenant, limit: str) -> None:
    refused = tenant.call("GET", "/api/auth/keys", params={"limit": limit})

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("limit must be")


def test_a_revoked_key_is_refused_on_the_very_next_request(tenant: Tenant) -> None:
    for _ in range(20):
        made = make(tenant, scopes=["services:read"])
        assert tenant.stack.call("GET", "/api/auth/keys", key=made["key"]).status_code == 200
        assert tenant.call("DELETE", f"/api/auth/keys/{made['id']}").status_code == 204
        refused = tenant.stack.call("GET", "/api/auth/keys", key=made["key"])
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"


def test_what_cannot_be_revoked(stack: Deployed, tenant: Tenant) -> None:
    made = make(tenant)
    unknown = {"error": "API key not found", "status": 404}

    assert tenant.call("DELETE", f"/api/auth/keys/{uuid.uuid4()}").json() == unknown
    stranger = open_tenant(stack)
    assert stranger.call("DELETE", f"/api/auth/keys/{made['id']}").json() == unknown
    employee = hire(tenant)
    assert stack.call("DELETE", f"/api/auth/keys/{made['id']}", key=employee).json() == unknown
    for odd in ("7", "not-a-uuid", made["id"][:-1], "%00", "a%2Fb"):
        refused = tenant.call("DELETE", f"/api/auth/keys/{odd}")
        assert refused.status_code in {400, 404}, odd
        assert refused.json()["error"] in {"Invalid key id", "Not Found"}
    assert tenant.call("DELETE", f"/api/auth/keys/{made['id']}").status_code == 204
    assert tenant.call("DELETE", f"/api/auth/keys/{made['id']}").json() == unknown


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "name is required"),
        ({"name": ""}, "name is required"),
        ({"name": "  "}, "name is required"),
        ({"name": "n" * 10_000}, "name must be at most 200 characters"),
        ({"name": 7}, "name must be a string"),
        ({"name": None}, "name must be a string"),
        ({"name": ["a"]}, "name must be a string"),
        ({"name": "x", "scopes": "services:read"}, "scopes must be a list"),
        ({"name": "x", "scopes": [1]}, "scopes.0 must be a string"),
        ({"name": "x", "expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt must be in the future"),
        (
            {"name": "x", "expiresAt": "tomorrow"},
            "expiresAt must be an RFC 3339 timestamp with Z or an offset",
        ),
        ({"name": "x", "expiresAt": 5}, "expiresAt must be a string"),
        ({"name": "x", "rateLimit": -1}, "rateLimit must be from 1 to 60000"),
        ({"name": "x", "rateLimit": 0}, "rateLimit must be from 1 to 60000"),
        ({"name": "x", "rateLimit": 10**12}, "rateLimit must be from 1 to 60000"),
        ({"name": "x", "rateLimit": "50"}, "rateLimit must be a whole number"),
        ({"name": "x", "rateLimit": 1.5}, "rateLimit must be a whole number"),
        ({"name": "x", "rateLimit": True}, "rateLimit must be a whole number"),
    ],
)
def test_bad_fields_are_named(tenant: Tenant, body: dict[str, Any], error: str) -> None:
    refused = tenant.call("POST", "/api/auth/keys", json=body)

    assert refused.status_code == 400
    assert refused.json() == {"error": error, "status": 400}
    assert refused.headers["x-request-id"]


def test_an_unknown_scope_is_refused_with_the_allowed_ones(tenant: Tenant) -> None:
    refused = tenant.call("POST", "/api/auth/keys", json={"name": "x", "scopes": ["planets:read"]})

    assert refused.status_code == 400
    assert "planets:read" in refused.json()["error"]
    assert "commanders:write" in refused.json()["error"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "error"),
    [
        (b"{nope", "application/json", 400, "Malformed JSON"),
        (b"[1, 2]", "application/json", 400, "The body must be a JSON object"),
        (b'{"name":"a","name":"b"}', "application/json", 400, "Duplicate key in JSON: name"),
        (b'{"name":"\\ud800"}', "application/json", 400, "Malformed JSON"),
        (b'{"name":NaN}', "application/json", 400, "Malformed JSON"),
        (b'{"name":"x"}', "text/plain", 400, "Content-Type must be application/json"),
        (b"name=x", "application/x-www-form-urlencoded", 400, None),
        (
            b'{"name":"' + b"n" * (300 * 1024) + b'"}',
            "application/json",
            413,
            "The body is over 256 KiB",
        ),
    ],
)
def test_bad_bodies_are_refused(
    tenant: Tenant, content: bytes, content_type: str, status: int, error: str | None
) -> None:
    refused = tenant.call(
        "POST", "/api/auth/keys", content=content, headers={"Content-Type": content_type}
    )

    assert refused.status_code == status
    assert set(refused.json()) == {"error", "status"}
    assert error in {None, refused.json()["error"]}
