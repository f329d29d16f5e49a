"""Identities on the deployed stack: shown, changed, and what a change does to their keys."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from support.actors.deployed_members import IDENTITY, change, member
from support.actors.deployed_tenant import Tenant, open_tenant
from support.worlds.deployed_stack import Deployed


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


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


def test_an_identity_of_another_account_is_404(stack: Deployed, tenant: Tenant) -> None:
    stranger = open_tenant(stack)

    for answer in (
        stranger.call("GET", f"/admin/identities/{tenant.identity_id}"),
        change(stranger, tenant.identity_id, name="x"),
        stranger.call("GET", f"/admin/identities/{uuid.uuid4()}"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "IDENTITY_NOT_FOUND")
    assert stranger.call("GET", "/admin/identities/x").status_code == 400


def test_all_keys_of_a_suspended_member_are_refused_on_the_next_request(tenant: Tenant) -> None:
    identity, key = member(tenant)
    second = tenant.call("POST", "/admin/api-keys", json={"owner": identity}).json()["data"]
    keys = [key, second["api_key"]]
    for one in keys:
        assert tenant.stack.call("GET", "/v1/whoami", key=one).status_code == 200

    changed = change(tenant, identity, status="suspended")
    assert changed.json()["data"]["status"] == "suspended"
    for one in keys:
        assert tenant.stack.call("GET", "/v1/whoami", key=one).status_code == 401
    verified = tenant.call("POST", "/v1/keys/verify", json={"key": key}).json()["data"]
    assert verified["code"] == "DISABLED"
    refused = tenant.call("POST", "/admin/api-keys", json={"owner": identity})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "IDENTITY_NOT_ACTIVE")

    assert change(tenant, identity, status="active").status_code == 200
    for one in keys:
        assert tenant.stack.call("GET", "/v1/whoami", key=one).status_code == 200


def test_promotion_and_demotion_take_effect_at_once(tenant: Tenant) -> None:
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


def test_the_last_admin_cannot_be_demoted_or_suspended(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    for fields in ({"is_admin": False}, {"status": "suspended"}):
        refused = change(tenant, tenant.identity_id, **fields)
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "IDENTITY_LAST_ADMIN"
    identity, _ = member(tenant)
    assert change(tenant, identity, is_admin=True).status_code == 200
    assert change(tenant, tenant.identity_id, is_admin=False).status_code == 200


def test_a_change_to_a_bad_value_is_400(tenant: Tenant) -> None:
    refused = change(tenant, tenant.identity_id, claw_type="boss")

    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "VALIDATION_INVALID_VALUE"


def test_the_policy_explains_decisions_about_identities_and_keys(tenant: Tenant) -> None:
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
    assert ask(action="fly", identity=identity).status_code == 400
    assert ask(action="signal:emit", identity=str(uuid.uuid4())).status_code == 404


def test_the_configuration_shows_what_is_documented(tenant: Tenant) -> None:
    shown = tenant.call("GET", "/admin/config").json()["data"]

    assert {
        "embedding_provider", "gc_interval_minutes", "rate_limit_default", "extraction_types",
        "bootstrap_path",
    } <= set(shown)  # fmt: skip
    assert shown["embedding_provider"] == "none"
    assert shown["rate_limit_default"] == 6000
