"""Invites on the deployed stack: created and redeemed. Wrong codes are in test_alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from support.actors.deployed_members import IDENTITY, invite, redeem
from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.worlds.deployed_stack import Deployed

VIEW = {
    "id", "code", "name", "type", "scopes", "permissions", "max_uses", "uses", "redeemed",
    "redeemed_by", "created_by", "created_at", "redeemed_at", "expires_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_an_invite_admits_one_person_with_its_permissions(tenant: Tenant) -> None:
    made = invite(tenant, permissions={"signal_types": ["task"]}, scopes=["agents:*"])
    assert set(made) >= VIEW
    assert len(made["code"]) == 8
    assert int(made["code"], 16) >= 0

    joined = redeem(tenant.stack, made["code"])
    assert joined.status_code == 201
    data = joined.json()["data"]
    assert set(data["identity"]) == IDENTITY
    assert data["identity"]["is_admin"] is False
    assert data["identity"]["claw_type"] == "employee"
    me = tenant.stack.call("GET", "/v1/whoami", key=data["api_key"]).json()["data"]
    assert me["account"]["id"] == tenant.account_id
    assert me["grants"]["scopes"] == ["agents:*"]
    assert me["grants"]["permissions"]["signal_types"] == ["task"]

    again = redeem(tenant.stack, made["code"])
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "INVITE_ALREADY_REDEEMED"
    (view,) = [
        entry
        for entry in tenant.call("GET", "/admin/invites").json()["data"]
        if entry["id"] == made["id"]
    ]
    assert view["redeemed"] is True
    assert view["redeemed_by"] == data["identity"]["id"]
    assert view["redeemed_at"] is not None
    actions = [event["action"] for event in tenant.events()]
    assert actions[-4:] == ["invite.create", "invite.redeem", "identity.create", "api_key.create"]


def test_a_long_code_has_32_digits(tenant: Tenant) -> None:
    made = invite(tenant, long=True, type="agent")

    assert len(made["code"]) == 32
    assert redeem(tenant.stack, made["code"], type="agent").status_code == 201


def test_of_many_at_once_one_gets_the_last_use_of_an_invite(tenant: Tenant) -> None:
    made = invite(tenant, max_uses=2)
    assert redeem(tenant.stack, made["code"]).status_code == 201
    before = len(tenant.call("GET", "/admin/identities").json()["data"])

    with ThreadPoolExecutor(4) as pool:  # each request in flight is two processes on the engine
        answers = list(pool.map(lambda _: redeem(tenant.stack, made["code"]), range(12)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409}
    assert len(tenant.call("GET", "/admin/identities").json()["data"]) == before + 1


def test_an_expired_invite_is_410(tenant: Tenant) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=4)
    made = invite(tenant, expires_at=soon.isoformat())
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds() + 0.1))

    refused = redeem(tenant.stack, made["code"])
    assert refused.status_code == 410
    assert refused.json()["error"]["code"] == "INVITE_EXPIRED"


def test_an_invite_with_a_bad_field_is_400(tenant: Tenant) -> None:
    body = {"name": "new", "type": "ghost"}
    refused = tenant.call("POST", "/invite/create", json=body)

    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "VALIDATION_INVALID_VALUE"


def test_only_a_manager_invites_and_only_within_its_own_grants(tenant: Tenant) -> None:
    body = {"name": "new", "type": "human"}
    denied = tenant.stack.call("POST", "/invite/create", key=add_member(tenant), json=body)
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "POLICY_DENIED")

    narrow = tenant.make_key(scopes=["admin:manage", "services:read"])["key"]
    beyond = tenant.stack.call("POST", "/invite/create", key=narrow, json=body)
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (403, "GRANTS_EXCEEDED")
    within = tenant.stack.call(
        "POST", "/invite/create", key=narrow, json={**body, "scopes": ["services:read"]}
    )
    assert within.status_code == 201


def test_a_key_from_an_invite_expires_with_the_key_that_created_it(tenant: Tenant) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    expiring = tenant.make_key(expires_at=ends)["key"]
    made = tenant.stack.call(
        "POST", "/invite/create", key=expiring, json={"name": "new", "type": "human"}
    ).json()["data"]

    joined = redeem(tenant.stack, made["code"]).json()["data"]
    assert joined["expires_at"] is not None
    assert joined["expires_at"][:16] == ends[:16]
