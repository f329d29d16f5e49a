"""The services surface's key routes on the deployed stack."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.worlds.deployed_stack import Deployed

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


def test_a_key_is_created_and_listed_without_its_text(tenant: Tenant) -> None:
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


def test_a_key_without_scopes_may_do_nothing(tenant: Tenant) -> None:
    made = make(tenant)

    refused = tenant.stack.call("GET", "/api/auth/keys", key=made["key"])
    assert refused.status_code == 403
    assert refused.json().items() >= {"error": "Insufficient API key scope", "status": 403}.items()


def test_the_write_scope_does_not_allow_reading(tenant: Tenant) -> None:
    made = make(tenant, scopes=["services:write"])

    assert tenant.stack.call("GET", "/api/auth/keys", key=made["key"]).status_code == 403
    created = tenant.stack.call(
        "POST", "/api/auth/keys", key=made["key"], json={"name": "x", "scopes": ["services:write"]}
    )
    assert created.status_code == 201


def test_keys_are_listed_in_pages_newest_first(stack: Deployed, tenant: Tenant) -> None:
    owner = open_tenant(stack)
    names = [make(owner, name=f"k{number}")["name"] for number in range(3)]
    gone = make(owner, name="gone")
    assert owner.call("DELETE", f"/api/auth/keys/{gone['id']}").status_code == 204

    active = [key["name"] for key in owner.call("GET", "/api/auth/keys").json()]
    assert active == [*reversed(names), "default"]
    everything = owner.call("GET", "/api/auth/keys", params={"status": "all"}).json()
    assert (everything[0]["name"], everything[0]["status"]) == ("gone", "revoked")
    first = owner.call("GET", "/api/auth/keys", params={"limit": 3})
    after = {"after": first.headers["x-next-cursor"]}
    rest = owner.call("GET", "/api/auth/keys", params={"limit": 3, **after})
    assert [key["name"] for key in first.json() + rest.json()] == active
    assert "x-next-cursor" not in rest.headers
    assert tenant.call("GET", "/api/auth/keys", params=after).status_code == 400


def test_a_made_up_cursor_and_a_limit_out_of_range_are_400(tenant: Tenant) -> None:
    cursor = tenant.call("GET", "/api/auth/keys", params={"after": "made-up"})
    assert cursor.json().items() >= {"error": "Invalid cursor", "status": 400}.items()
    limit = tenant.call("GET", "/api/auth/keys", params={"limit": "101"})
    assert (limit.status_code, limit.json()["error"].startswith("limit must be")) == (400, True)


def test_a_revoked_key_is_refused_on_the_very_next_request(tenant: Tenant) -> None:
    for _ in range(6):
        made = make(tenant, scopes=["services:read"])
        assert tenant.stack.call("GET", "/api/auth/keys", key=made["key"]).status_code == 200
        assert tenant.call("DELETE", f"/api/auth/keys/{made['id']}").status_code == 204
        refused = tenant.stack.call("GET", "/api/auth/keys", key=made["key"])
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"


def test_a_key_that_the_caller_may_not_see_cannot_be_revoked(
    stack: Deployed, tenant: Tenant
) -> None:
    made = make(tenant)
    unknown = {"error": "API key not found", "status": 404}

    assert tenant.call("DELETE", f"/api/auth/keys/{uuid.uuid4()}").json().items() >= unknown.items()
    stranger = open_tenant(stack)
    assert stranger.call("DELETE", f"/api/auth/keys/{made['id']}").json().items() >= unknown.items()
    employee = add_member(tenant)
    assert (
        stack.call("DELETE", f"/api/auth/keys/{made['id']}", key=employee).json().items()
        >= unknown.items()
    )
    # The gateway decodes the path: what is not an id never reaches another route.
    for odd in ("7", "%00", "a%2Fb"):
        refused = tenant.call("DELETE", f"/api/auth/keys/{odd}")
        assert refused.status_code in {400, 404}, odd
        assert refused.json()["error"] in {"Invalid key id", "Not Found"}
    assert tenant.call("DELETE", f"/api/auth/keys/{made['id']}").status_code == 204
    assert tenant.call("DELETE", f"/api/auth/keys/{made['id']}").json().items() >= unknown.items()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "name is required"),
        ({"name": "x", "rateLimit": 0}, "rateLimit must be from 1 to 60000"),
    ],
)
def test_a_bad_field_is_named(tenant: Tenant, body: dict[str, Any], error: str) -> None:
    refused = tenant.call("POST", "/api/auth/keys", json=body)

    assert refused.status_code == 400
    assert refused.json().items() >= {"error": error, "status": 400}.items()
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
        (b'{"name":"a","name":"b"}', "application/json", 400, "Duplicate key in JSON: name"),
        (b'{"name":"x"}', "text/plain", 400, "Content-Type must be application/json"),
        (b"n" * (300 * 1024), "application/json", 413, "The body is over 256 KiB"),
    ],
    ids=["malformed", "duplicate key", "not JSON", "too large"],
)
def test_a_body_that_cannot_be_read_is_refused(
    tenant: Tenant, content: bytes, content_type: str, status: int, error: str
) -> None:
    refused = tenant.call(
        "POST", "/api/auth/keys", content=content, headers={"Content-Type": content_type}
    )

    body = refused.json()
    assert (refused.status_code, body["error"], body["status"]) == (status, error, status)
