"""The admin surface's routes of keys, audit and policy on the deployed stack."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from gatehouse.identities.model import ClawType
from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.worlds.deployed_stack import Deployed

VIEW = {
    "id", "owner", "name", "key_prefix", "permissions", "ring_scopes", "scopes", "created_at",
    "expires_at", "last_used_at", "rate_limit", "revoked", "revoked_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def make(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    body = {"owner": f"identity:{tenant.identity_id}", **fields}
    made = tenant.call("POST", "/admin/api-keys", json=body)
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def test_a_key_is_created_for_an_identity_in_both_id_forms(tenant: Tenant) -> None:
    for owner in (tenant.identity_id, f"identity:{tenant.identity_id}"):
        made = make(tenant, owner=owner, permissions={"rings": ["inner"]}, name="agent")
        assert set(made) >= VIEW | {"api_key"}
        assert made["api_key"].startswith("chorus_")
        assert made["id"].startswith("api_key:")
        assert made["ring_scopes"] == made["permissions"]["ring_scopes"] == ["inner"]
        me = tenant.stack.call("GET", "/v1/whoami", key=made["api_key"]).json()["data"]
        assert me["identity"]["id"] == tenant.identity_id


def test_the_list_flags_revoked_keys_and_shows_no_key_text(tenant: Tenant) -> None:
    made = make(tenant)
    revoked = tenant.call("POST", f"/admin/api-keys/{made['id']}/revoke")

    assert revoked.status_code == 200
    body = revoked.json()
    assert body["data"] == {"id": made["id"], "revoked": True}
    assert body["revoked"] is True
    assert body["meta"] == {"request_id": revoked.headers["x-request-id"]}
    listed = tenant.call("GET", "/admin/api-keys")
    (view,) = [key for key in listed.json()["data"] if key["id"] == made["id"]]
    assert set(view) >= VIEW
    assert view["revoked"] is True
    assert view["revoked_at"] is not None
    assert made["api_key"] not in listed.text


def test_rotation_keeps_the_owner_and_the_permissions(tenant: Tenant) -> None:
    old = make(tenant, permissions={"signal_types": ["task"]}, scopes=["agents:*"])
    rotated = tenant.call("POST", f"/admin/api-keys/{old['id']}/rotate")

    assert rotated.status_code == 200
    assert set(rotated.json()["data"]) == {"id", "api_key"}
    new = rotated.json()["data"]
    me = tenant.stack.call("GET", "/v1/whoami", key=new["api_key"]).json()["data"]
    assert me["grants"]["permissions"]["signal_types"] == ["task"]
    assert me["grants"]["scopes"] == ["agents:*"]
    assert tenant.stack.call("GET", "/v1/whoami", key=old["api_key"]).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "VALIDATION_FIELD_REQUIRED"),
        ({"owner": 7}, 400, "VALIDATION_INVALID_TYPE"),
        ({"owner": "nobody"}, 400, "VALIDATION_INVALID_VALUE"),
        ({"owner": "identity:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"}, 404, "IDENTITY_NOT_FOUND"),
    ],
)
def test_a_bad_field_is_answered_with_the_admin_error(
    tenant: Tenant, body: dict[str, Any], status: int, code: str
) -> None:
    refused = tenant.call("POST", "/admin/api-keys", json=body)

    assert refused.status_code == status
    error = refused.json()["error"]
    assert set(error) == {"code", "message", "request_id", "details", "docs_url"}
    assert error["code"] == code
    assert error["request_id"] == refused.headers["x-request-id"]


def test_an_unknown_key_is_404_and_another_kind_of_id_is_400(tenant: Tenant) -> None:
    for verb in ("rotate", "revoke"):
        unknown = tenant.call("POST", f"/admin/api-keys/api_key:{uuid.uuid4()}/{verb}")
        assert unknown.status_code == 404
        assert unknown.json()["error"]["code"] == "API_KEY_NOT_FOUND"
        odd = tenant.call("POST", f"/admin/api-keys/webhook:{uuid.uuid4()}/{verb}")
        assert odd.status_code == 400
        assert odd.json()["error"]["code"] == "VALIDATION_INVALID_ID"


def test_a_denial_names_the_rule_and_what_would_allow_the_request(tenant: Tenant) -> None:
    narrow = tenant.make_key(scopes=["services:*"])["key"]
    service = add_member(tenant, claw_type=ClawType.SERVICE)
    cases = {
        narrow: ("key_scope", {"scopes": ["admin:manage"]}),
        add_member(tenant): ("admin_action_restriction", {"is_admin": True}),
        service: ("service_claw_restriction", {"is_admin": True}),
    }
    for key, (rule, would_allow) in cases.items():
        refused = tenant.stack.call("GET", "/admin/audit", key=key)
        assert refused.status_code == 403
        error = refused.json()["error"]
        assert error["code"] == "POLICY_DENIED"
        assert error["details"]["rule"] == rule
        assert error["details"]["reasons"]
        assert error["details"]["would_allow"] == would_allow


def test_the_policy_lists_its_rules_in_order_of_evaluation(tenant: Tenant) -> None:
    rules = tenant.call("GET", "/admin/policy").json()["data"]["rules"]

    assert [rule["name"] for rule in rules] == [
        "admin_bypass", "membership_required", "service_claw_restriction",
        "admin_action_restriction", "default_allow",
    ]  # fmt: skip
    assert [rule["order"] for rule in rules] == [1, 2, 3, 4, 5]
    assert all(set(rule) == {"name", "order", "effect", "description"} for rule in rules)


def test_each_change_of_a_key_is_in_the_audit_trail(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    made = tenant.make_key()
    tenant.call("PATCH", f"/v1/api-keys/{made['id']}", json={"name": "renamed"})
    rotated = tenant.call("POST", f"/v1/api-keys/{made['id']}/rotate").json()["data"]
    revoked = tenant.call("DELETE", f"/api/auth/keys/{rotated['id']}")

    events = tenant.events()
    assert [event["action"] for event in events] == [
        "account.create", "identity.create", "api_key.create", "api_key.create", "api_key.update",
        "api_key.rotate", "api_key.revoke",
    ]  # fmt: skip
    last = events[-1]
    assert last["request_id"] == revoked.headers["x-request-id"]
    assert last["source_address"] == "127.0.0.1"
    assert last["actor"] == f"identity:{tenant.identity_id}"
    assert last["target"] == f"api_key:{rotated['id']}"
    assert events[4]["before"]["name"] == "test"
    assert events[4]["after"]["name"] == "renamed"


def test_the_audit_trail_is_filtered_and_paged(stack: Deployed, tenant: Tenant) -> None:
    trail = open_tenant(stack)
    for _ in range(3):
        trail.make_key()

    def page(**query: Any) -> Any:
        return trail.call("GET", "/admin/audit", params=query)

    first = page(action="api_key.create", limit=3)
    data = first.json()["data"]
    assert [event["action"] for event in data["events"]] == ["api_key.create"] * 3
    assert data["has_more"] is True
    assert first.json()["meta"]["cursor"] == data["cursor"]
    rest = page(action="api_key.create", limit=3, after=data["cursor"]).json()["data"]
    assert (len(rest["events"]), rest["has_more"], rest["cursor"]) == (1, False, None)
    nobody = page(actor="identity:nobody").json()["data"]
    assert (nobody["events"], nobody["cursor"], nobody["has_more"]) == ([], None, False)
    assert page(limit=101).status_code == 400
    foreign = tenant.call("GET", "/admin/audit", params={"after": data["cursor"]})
    assert foreign.status_code == 400
