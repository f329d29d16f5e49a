"""No way around the minting rule: nothing that a limited key does exceeds its own limits."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account

from gatehouse.core import clock
from gatehouse.core.grants import Grants
from support.actors.people import Holder, People
from support.actors.signers import signed
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


def in_an_hour() -> str:
    return clock.rfc3339(clock.now() + 60 * clock.MINUTE)


def invited(front: Front, holder: Holder, **fields: Any) -> dict[str, Any]:
    body = {"name": "new", "type": "human", "long": True, **fields}
    made = front("POST", "/invite/create", key=holder.key, body=body)
    assert made.status == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


@pytest.mark.usefixtures("settings_key")
def test_a_wallet_from_an_invite_has_the_inviters_expiry_and_limit(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    passing = people.key(admin, expires_at=in_an_hour(), rate_limit=5)
    code = invited(front, passing)["code"]
    wallet = Account.create()
    body = {"code": code, "name": "bo", "type": "human"} | signed(front, wallet)
    assert front("POST", "/invite", body=body).status == 201

    came = front("POST", "/auth/siwe-login", body=signed(front, wallet)).json()["data"]
    me = front("GET", "/v1/whoami", key=came["api_key"]).json()["data"]["key"]
    assert me["rate_limit"] == 5
    assert clock.parse(me["expires_at"]) <= clock.now() + 60 * clock.MINUTE
    held.advance(seconds=3_660)
    assert front("POST", "/auth/siwe-login", body=signed(front, wallet)).status == 401


@pytest.mark.usefixtures("settings_key")
def test_a_wallet_attached_by_a_limited_key_has_its_rate_limit(
    front: Front, people: People, admin: Holder
) -> None:
    slow = people.employee(admin, rate_limit=2)
    wallet = Account.create()
    attached = front(
        "POST", "/auth/attach-wallet", key=slow.key, body=signed(front, wallet, key=slow.key)
    )
    assert attached.status == 200

    came = front("POST", "/auth/siwe-login", body=signed(front, wallet)).json()["data"]
    me = front("GET", "/v1/whoami", key=came["api_key"]).json()["data"]["key"]
    assert me["rate_limit"] == 2


def _patch(front: Front, holder: Holder, identity_id: str, **fields: Any) -> tuple[int, Any]:
    answer = front("PATCH", f"/admin/identities/{identity_id}", key=holder.key, body=fields)
    if answer.status == 403:
        assert answer.json()["error"]["code"] == "GRANTS_EXCEEDED"
        return 403, answer.json()["error"]["details"]
    return answer.status, answer.json().get("data")


# What each caller lacks to leave a lasting unrestricted member behind.
LESS = {
    "scopes": ({"scopes": ["admin:manage"]}, {"scopes": ["*"]}),
    "rings": ({"permissions": {"ring_scopes": ["red"]}}, {"ring_scopes": ["*"]}),
    "expiry": ({"expires_at": "2100-01-01T00:00:00Z"}, {"expires_at": None}),
}


@pytest.mark.parametrize(("narrow", "excess"), LESS.values(), ids=LESS)
def test_a_key_with_less_cannot_raise_an_identity(
    front: Front, people: People, admin: Holder, narrow: dict[str, Any], excess: dict[str, Any]
) -> None:
    manager, member = people.key(admin, **narrow), people.member(admin)
    assert _patch(front, manager, member.id, is_admin=True) == (403, excess)
    assert _patch(front, admin, member.id, status="suspended")[0] == 200
    assert _patch(front, manager, member.id, status="active") == (403, excess)
    assert _patch(front, admin, member.id, status="active", claw_type="service")[0] == 200
    assert _patch(front, manager, member.id, claw_type="employee") == (403, excess)


@pytest.mark.parametrize(
    ("limits", "callers", "excess"),
    [
        ([], 1, None),
        ([5], 5, None),
        ([5], 4, {"rate_limit": 5}),
        ([5, 2, 7], 6, {"rate_limit": 7}),
        ([5, 2, 7], 7, None),
    ],
)
def test_a_limited_key_cannot_raise_an_identity_with_faster_keys(
    front: Front, people: People, admin: Holder, limits: list[int], callers: int, excess: Any
) -> None:
    member = people.member(admin)
    for limit in limits:
        people.key_for(admin, member, rate_limit=limit)
    ended = people.key_for(admin, member, rate_limit=100)
    assert front("DELETE", f"/v1/api-keys/{ended.key_id}", key=admin.key).status == 204
    manager = people.key(admin, rate_limit=callers)
    status, details = _patch(front, manager, member.id, is_admin=True)
    assert (status, details if excess else None) == (403 if excess else 200, excess)


@pytest.mark.usefixtures("settings_key")
def test_a_limited_key_cannot_raise_an_identity_that_can_sign_in_with_a_wallet(
    front: Front, people: People, admin: Holder
) -> None:
    member = people.employee(admin, rate_limit=2)
    attach = signed(front, Account.create(), key=member.key)
    assert front("POST", "/auth/attach-wallet", key=member.key, body=attach).status == 200
    slow, even = people.key(admin, rate_limit=5_999), people.key(admin, rate_limit=6_000)
    refused = _patch(front, slow, member.identity_id, is_admin=True)
    assert refused == (403, {"rate_limit": 6_000})
    assert _patch(front, even, member.identity_id, is_admin=True)[0] == 200


def test_an_expiring_key_cannot_widen_a_ceiling_that_it_covers(
    front: Front, people: People, admin: Holder
) -> None:
    manager = people.key(admin, expires_at=in_an_hour())
    member = people.member(admin, ceiling=Grants(("services:read",)))
    refused = _patch(front, manager, member.id, scopes=["services:read", "services:write"])
    assert refused == (403, {"expires_at": None})
    assert _patch(front, admin, member.id, scopes=["*"])[0] == 200


@pytest.mark.parametrize(("narrow", "excess"), LESS.values(), ids=LESS)
def test_a_key_with_less_may_narrow_demote_and_suspend_an_identity(
    front: Front, people: People, admin: Holder, narrow: dict[str, Any], excess: dict[str, Any]
) -> None:
    manager, wide = people.key(admin, **narrow), people.employee(admin)
    assert _patch(front, admin, wide.identity_id, is_admin=True)[0] == 200
    for change in (
        {"scopes": ["admin:manage", "*:read"]},
        {"is_admin": False, "claw_type": "service"},
        {"name": "another name"},
        {"status": "suspended"},
    ):
        assert _patch(front, manager, wide.identity_id, **change)[0] == 200
    assert front("GET", "/v1/whoami", key=wide.key).status == 401
    assert _patch(front, manager, wide.identity_id, status="active", scopes=["*"]) == (403, excess)


def test_a_narrow_manager_cannot_read_the_code_of_a_wider_invite(
    front: Front, people: People, admin: Holder
) -> None:
    wide, small = invited(front, admin), invited(front, admin, scopes=["admin:manage"])
    narrow = people.key(admin, scopes=["admin:manage"])
    shown = {
        entry["id"]: entry["code"]
        for entry in front("GET", "/admin/invites", key=narrow.key).json()["data"]
    }

    assert shown[wide["id"]] is None
    assert shown[small["id"]] == small["code"]
    listed = front("GET", "/admin/invites", key=admin.key).json()["data"]
    assert wide["code"] in {entry["code"] for entry in listed}


def test_an_invite_ends_when_its_maker_is_no_longer_an_admin(
    front: Front, people: People, admin: Holder
) -> None:
    other = people.key_for(admin, people.member(admin, is_admin=True))
    code = invited(front, other)["code"]
    path = f"/admin/identities/{other.identity_id}"
    # A member that the test wrote is not counted as an admin; a real promotion is.
    helper = people.employee(admin)
    front(
        "PATCH", f"/admin/identities/{helper.identity_id}", key=admin.key, body={"is_admin": True}
    )
    assert front("PATCH", path, key=admin.key, body={"status": "suspended"}).status == 200

    refused = front("POST", "/invite", body={"code": code, "name": "bo", "type": "human"})
    assert (refused.status, refused.json()["error"]["code"]) == (410, "INVITE_EXPIRED")


@pytest.mark.usefixtures("settings_key")
def test_a_peer_cannot_send_more_than_the_key_that_trusted_it(
    front: Front, people: People, admin: Holder
) -> None:
    body = {"name": "other", "endpoint": "https://other.example/in"}
    managers = (
        people.key(admin, scopes=["admin:manage"]),
        people.key(admin, permissions={"signal_types": ["pulse"]}),
        people.key(admin, expires_at=in_an_hour()),
    )
    for manager in managers:
        refused = front("POST", "/federation/trust", key=manager.key, body=body)
        assert (refused.status, refused.json()["error"]["code"]) == (403, "GRANTS_EXCEEDED")
    red = people.key(admin, permissions={"ring_scopes": ["red"]})
    refused = front("POST", "/federation/trust", key=red.key, body=body)
    assert (refused.status, refused.json()["error"]["details"]) == (403, {"ring_scopes": ["*"]})
    within = body | {"allowed_scopes": ["signal:pulse"]}
    trusted = front("POST", "/federation/trust", key=managers[1].key, body=within)
    assert trusted.status == 201


def test_a_forged_cursor_cannot_read_items_that_are_not_events(front: Front, admin: Holder) -> None:
    from gatehouse.core import ids, settings  # noqa: PLC0415 - to forge a cursor

    listing, account = "admin:audit", admin.account_id
    for position, secret in (
        ("zzz", settings.MAIN_TABLE.text()),
        (admin.key_id, "not the table's name"),
    ):
        made_up = ids.cursor(listing, account, position, secret=secret)
        answer = front("GET", "/admin/audit", key=admin.key, query={"after": made_up})
        assert answer.status == 400


@pytest.mark.usefixtures("settings_key")
def test_a_passing_key_may_store_a_provider_key_which_no_request_returns(
    front: Front, people: People, admin: Holder
) -> None:
    passing = people.key(admin, expires_at=in_an_hour(), rate_limit=5)
    stored = "provider " + "text of the test"
    path = "/api/auth/providers/elsewhere"
    assert front("PUT", path, key=passing.key, body={"apiKey": stored}).status == 204
    shown = front("GET", path, key=admin.key)
    assert shown.status == 200
    assert stored not in shown.text
    assert front("DELETE", path, key=passing.key).status == 204
