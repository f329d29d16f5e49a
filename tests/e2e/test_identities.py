"""Identities: seen, changed, and what that means to their keys at once."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, open_tenant
from e2e.test_invites import IDENTITY, invite, redeem


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def member(tenant: Tenant, **fields: Any) -> tuple[str, str]:
    """Let somebody in with a long code, which no budget of guesses concerns; id and key."""
    made = invite(tenant, long=True, **fields)
    came = redeem(tenant.stack, made["code"]).json()["data"]
    return came["identity"]["id"], came["api_key"]


def change(tenant: Tenant, identity: str, **fields: Any) -> Any:
    return tenant.call("PATCH", f"/admin/identities/{identity}", json=fields)


def test_identities_are_listed_and_shown_in_both_id_forms(tenant: Tenant) -> None:
    identity, _ = member(tenant)
    listed = tenant.call("GET", "/admin/identities").json()["data"]

    assert [set(entry) for entry in listed] == [IDENTITY] * len(listed)
    assert identity in {entry["id"] for entry in listed}
    for shown in (identity, identity.removeprefix("identity:")):
        found = tenant.call("GET", f"/admin/identities/{shown}")
        assert found.json()["data"]["id"] == identity
    first = tenant.call("GET", "/admin/identities", params={"limit": 1})
    rest = tenant.call("GET", "/admin/identities", params={"after": first.json()["meta"]["cursor"]})
    assert len(first.json()["data"]) + len(rest.json()["data"]) == len(listed)


def test_another_accounts_identity_is_not_found(stack: Deployed, tenant: Tenant) -> None:
    identity, _ = member(tenant)
    stranger = open_tenant(stack)

    for answer in (
        stranger.call("GET", f"/admin/identities/{identity}"),
        stranger.call("PATCH", f"/admin/identities/{identity}", json={"name": "x"}),
        stranger.call("GET", f"/admin/identities/{uuid.uuid4()}"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "IDENTITY_NOT_FOUND")
    assert stranger.call("GET", "/admin/identities/x").status_code == 400


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_who_is_suspended_or_removed_is_refused_on_the_next_request_of_every_key(
    tenant: Tenant, status: str
) -> None:
    identity, key = member(tenant)
    second = tenant.call("POST", "/admin/api-keys", json={"owner": identity}).json()["data"]
    keys = [key, second["api_key"]]
    for one in keys:
        assert tenant.stack.call("GET", "/v1/whoami", key=one).status_code == 200

    changed = change(tenant, identity, status=status)
    assert changed.json()["data"]["status"] == status
    for one in keys:
        assert tenant.stack.call("GET", "/v1/whoami", key=one).status_code == 401
    verified = tenant.call("POST", "/v1/keys/verify", json={"key": key}).json()["data"]
    assert verified["code"] == "DISABLED"
    refused = tenant.call("POST", "/admin/api-keys", json={"owner": identity})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "IDENTITY_NOT_ACTIVE")

    assert change(tenant, identity, status="active").status_code == 200
    for one in keys:
        assert tenant.stack.call("GET", "/v1/whoami", key=one).status_code == 200


def test_promotion_and_demotion_hold_at_once(tenant: Tenant) -> None:
    identity, key = member(tenant)
    assert tenant.stack.call("GET", "/admin/audit", key=key).status_code == 403

    assert change(tenant, identity, is_admin=True).status_code == 200
    assert tenant.stack.call("GET", "/admin/audit", key=key).status_code == 200
    assert change(tenant, identity, is_admin=False).status_code == 200
    assert tenant.stack.call("GET", "/admin/audit", key=key).status_code == 403


def test_a_lower_ceiling_cuts_the_keys_to_it(tenant: Tenant) -> None:
    identity, key = member(tenant)
    before = len(tenant.events())

    changed = change(
        tenant, identity, scopes=["services:read"], permissions={"signal_types": ["task"]}
    )
    assert changed.json()["data"]["scopes"] == ["services:read"]
    me = tenant.stack.call("GET", "/v1/whoami", key=key).json()["data"]
    assert me["grants"]["scopes"] == ["services:read"]
    assert me["grants"]["permissions"]["signal_types"] == ["task"]
    assert me["key"]["scopes"] == ["services:read"]
    new = [event["action"] for event in tenant.events()][before:]
    assert new == ["identity.update", "api_key.update"]
    beyond = tenant.call(
        "POST", "/admin/api-keys", json={"owner": identity, "scopes": ["agents:read"]}
    )
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (403, "GRANTS_EXCEEDED")


def test_the_last_admin_stays(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    for fields in ({"is_admin": False}, {"status": "suspended"}, {"status": "removed"}):
        refused = change(tenant, tenant.identity_id, **fields)
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "IDENTITY_LAST_ADMIN"
    identity, _ = member(tenant)
    assert change(tenant, identity, is_admin=True).status_code == 200
    assert change(tenant, tenant.identity_id, is_admin=False).status_code == 200
    # Now the other one is the last.
    assert change(tenant, identity, status="suspended").status_code == 403


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": ""}, "VALIDATION_FIELD_REQUIRED"),
        ({"name": 5}, "VALIDATION_INVALID_TYPE"),
        ({"is_admin": "yes"}, "VALIDATION_INVALID_TYPE"),
        ({"claw_type": "boss"}, "VALIDATION_INVALID_VALUE"),
        ({"status": "invited"}, "VALIDATION_INVALID_VALUE"),
        ({"status": None}, "VALIDATION_INVALID_TYPE"),
        ({"scopes": ["planets:read"]}, "VALIDATION_INVALID_VALUE"),
        ({"permissions": {"memory_scopes": ["burn"]}}, "VALIDATION_INVALID_VALUE"),
    ],
)
def test_a_bad_change_is_refused(tenant: Tenant, fields: dict[str, Any], code: str) -> None:
    refused = change(tenant, tenant.identity_id, **fields)

    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == code


def test_the_policy_is_asked_about_identities_and_keys(tenant: Tenant) -> None:
    identity, key = member(tenant, scopes=["agents:read"], permissions={"signal_types": ["task"]})
    me = tenant.stack.call("GET", "/v1/whoami", key=key).json()["data"]

    def ask(**question: Any) -> Any:
        return tenant.call("POST", "/admin/policy/evaluate", json=question)

    allowed = ask(identity=identity, action="signal:emit").json()["data"]
    assert (allowed["allowed"], allowed["rule"]) == (True, "default_allow")
    denied = ask(key_id=me["key"]["id"], action="signal:emit").json()["data"]
    assert denied == {
        "allowed": False,
        "rule": "key_scope",
        "reasons": ["the key lacks the scope agents:write"],
        "would_allow": {"scopes": ["agents:write"]},
    }
    managing = ask(identity=identity, action="admin:manage").json()["data"]
    assert managing["rule"] == "admin_action_restriction"
    assert managing["would_allow"] == {"is_admin": True}
    typed = ask(
        key_id=f"api_key:{me['key']['id']}",
        action="signal:inspect",
        resource={"signal_type": "alert"},
    ).json()["data"]
    assert typed["would_allow"] == {"permissions": {"signal_types": ["alert"]}}
    for question in (
        {"action": "signal:emit"},
        {"action": "fly", "identity": identity},
        {"action": "signal:emit", "identity": "x"},
        {"action": "signal:emit", "identity": identity, "key_id": me["key"]["id"]},
        {"action": "signal:emit", "identity": identity, "resource": {"signal_type": "noise"}},
    ):
        assert ask(**question).status_code == 400, question
    assert ask(action="signal:emit", identity=str(uuid.uuid4())).status_code == 404


def test_the_configuration_shows_no_secret(tenant: Tenant) -> None:
    shown = tenant.call("GET", "/admin/config").json()["data"]

    assert {
        "embedding_provider", "gc_interval_minutes", "rate_limit_default", "extraction_types",
        "bootstrap_path",
    } <= set(shown)  # fmt: skip
    assert shown["embedding_provider"] == "none"
    assert shown["rate_limit_default"] == 6000
