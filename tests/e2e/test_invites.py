"""Invites: made, redeemed, guessed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, hire, open_tenant

VIEW = {
    "id", "code", "name", "type", "scopes", "permissions", "max_uses", "uses", "redeemed",
    "redeemed_by", "created_by", "created_at", "redeemed_at", "expires_at",
}  # fmt: skip
IDENTITY = {
    "id", "name", "type", "is_admin", "claw_type", "status", "wallet_address", "scopes",
    "permissions", "created_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def invite(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    made = tenant.call("POST", "/invite/create", json={"name": "new", "type": "human", **fields})
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def redeem(stack: Deployed, code: str, **fields: Any) -> httpx.Response:
    return stack.call(
        "POST", "/invite", json={"code": code, "name": "bo", "type": "human", **fields}
    )


def test_an_invite_lets_one_person_in_with_its_permissions(tenant: Tenant) -> None:
    made = invite(tenant, permissions={"signal_types": ["task"]}, scopes=["agents:*"])
    assert set(made) == VIEW
    assert len(made["code"]) == 8
    assert int(made["code"], 16) >= 0

    came = redeem(tenant.stack, made["code"])
    assert came.status_code == 201
    data = came.json()["data"]
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


def test_the_last_use_is_won_by_one_of_fifty(tenant: Tenant) -> None:
    made = invite(tenant, max_uses=2)
    assert redeem(tenant.stack, made["code"]).status_code == 201
    before = len(tenant.call("GET", "/admin/identities").json()["data"])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: redeem(tenant.stack, made["code"]), range(50)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 409, 429}
    assert len(tenant.call("GET", "/admin/identities").json()["data"]) == before + 1


def test_an_expired_invite_is_gone(tenant: Tenant) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    made = invite(tenant, expires_at=soon)
    time.sleep(1.1)

    refused = redeem(tenant.stack, made["code"])
    assert refused.status_code == 410
    assert refused.json()["error"]["code"] == "INVITE_EXPIRED"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": ""}, "VALIDATION_FIELD_REQUIRED"),
        ({"name": "n" * 10_000}, "VALIDATION_INVALID_VALUE"),
        ({"type": "ghost"}, "VALIDATION_INVALID_VALUE"),
        ({"max_uses": 0}, "VALIDATION_INVALID_VALUE"),
        ({"max_uses": "two"}, "VALIDATION_INVALID_TYPE"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "VALIDATION_INVALID_VALUE"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "VALIDATION_INVALID_VALUE"),
        ({"scopes": ["planets:read"]}, "VALIDATION_INVALID_VALUE"),
        ({"permissions": {"signal_types": ["noise"]}}, "VALIDATION_INVALID_VALUE"),
        ({"long": "yes"}, "VALIDATION_INVALID_TYPE"),
    ],
)
def test_a_bad_invite_is_refused(tenant: Tenant, fields: dict[str, Any], code: str) -> None:
    body = {"name": "new", "type": "human", **fields}
    refused = tenant.call("POST", "/invite/create", json=body)

    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == code


def test_only_a_manager_invites_and_only_within_their_own_grants(tenant: Tenant) -> None:
    employee = hire(tenant)
    body = {"name": "new", "type": "human"}
    denied = tenant.stack.call("POST", "/invite/create", key=employee, json=body)
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "POLICY_DENIED")

    narrow = tenant.make_key(scopes=["admin:manage", "services:read"])["key"]
    beyond = tenant.stack.call("POST", "/invite/create", key=narrow, json=body)
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (403, "GRANTS_EXCEEDED")
    within = tenant.stack.call(
        "POST", "/invite/create", key=narrow, json={**body, "scopes": ["services:read"]}
    )
    assert within.status_code == 201


def test_what_an_expiring_manager_invites_ends_with_them(tenant: Tenant) -> None:
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    passing = tenant.make_key(expires_at=ends)["key"]
    made = tenant.stack.call(
        "POST", "/invite/create", key=passing, json={"name": "new", "type": "human"}
    ).json()["data"]

    came = redeem(tenant.stack, made["code"]).json()["data"]
    assert came["expires_at"] is not None
    assert came["expires_at"][:16] == ends[:16]


def test_a_code_guessed_six_times_is_429_even_when_it_is_right(stack: Deployed) -> None:
    """On its own, at the end of its file: it uses up the address's budget for ten minutes."""
    tenant = open_tenant(stack)
    made, long = invite(tenant), invite(tenant, long=True)
    statuses = [redeem(stack, f"{number:08x}").status_code for number in range(6)]

    assert statuses[-1] == 429
    assert set(statuses) <= {404, 429}
    refused = redeem(stack, made["code"])
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    assert int(refused.headers["retry-after"]) > 0
    # What is no code at all, and a long one, cannot be guessed and are not counted.
    assert redeem(stack, "not a code").status_code == 404
    assert redeem(stack, long["code"]).status_code == 201
