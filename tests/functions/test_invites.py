"""The invite routes: create, list, and redeem without a credential."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.invocation import Answer
from support.worlds.held_clock import HeldClock

VIEW = {
    *("id", "code", "name", "type", "scopes", "permissions", "max_uses", "uses", "redeemed"),
    *("redeemed_by", "created_by", "created_by_key", "created_at", "redeemed_at", "expires_at"),
}

pytestmark = pytest.mark.usefixtures("settings_key", "held")


def create(front: Front, holder: Holder, **fields: Any) -> Answer:
    headers = fields.pop("headers", None)
    body = {"name": "new", "type": "human", **fields}
    return front("POST", "/invite/create", key=holder.key, body=body, headers=headers)


def created(front: Front, holder: Holder, **fields: Any) -> dict[str, Any]:
    answer = create(front, holder, **fields)
    assert answer.status == 201, answer.text
    return answer.json()["data"]


def redeem(front: Front, code: str, *, source: str = "192.0.2.1", **fields: Any) -> Answer:
    body = {"code": code, "name": "bo", "type": "human", **fields}
    return front("POST", "/invite", body=body, source=source)


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_an_invite_is_created_redeemed_and_listed(
    front: Front, admin: Holder, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    invite = created(front, admin, scopes=["services:*"], permissions={"rings": ["a"]})
    assert invite == {
        "id": invite["id"],
        "code": invite["code"],
        "name": "new",
        "type": "human",
        "scopes": ["services:*"],
        "permissions": {
            "signal_types": [],
            "task_types": [],
            "ring_scopes": ["a"],
            "memory_scopes": [],
        },
        "max_uses": 1,
        "uses": 0,
        "redeemed": False,
        "redeemed_by": None,
        "created_by": f"identity:{admin.identity_id}",
        "created_by_key": f"api_key:{admin.key_id}",
        "created_at": held.text(),
        "redeemed_at": None,
        "expires_at": held.text(seconds=72 * 3600),
    }
    assert set(invite) == VIEW
    assert re.fullmatch(r"[0-9a-f]{8}", invite["code"])

    redeemed = redeem(front, f" {invite['code'].upper()} ")
    front.shape = "aws"
    assert redeemed.status == 201
    data = redeemed.json()["data"]
    assert set(data) == {"identity", "api_key", "api_key_id", "expires_at"}
    assert data["expires_at"] is None
    me = front("GET", "/v1/whoami", key=data["api_key"]).json()["data"]
    assert me["account"]["id"] == admin.account_id
    assert me["identity"]["id"] == data["identity"]["id"].removeprefix("identity:")
    assert me["grants"]["scopes"] == ["services:*"]
    listed = front("GET", "/admin/invites", key=admin.key).json()["data"][0]
    assert (listed["redeemed"], listed["uses"]) == (True, 1)
    assert (listed["redeemed_by"], listed["redeemed_at"]) == (data["identity"]["id"], held.text())
    assert data["api_key"] not in front("GET", "/admin/audit", key=admin.key).text


def test_no_audit_event_contains_a_code(front: Front, admin: Holder) -> None:
    invite = created(front, admin, long=True)
    redeem(front, invite["code"])
    assert invite["code"] not in front("GET", "/admin/audit", key=admin.key).text


def test_used_expired_and_unknown_codes_have_their_own_errors(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    used, expired = created(front, admin), created(front, admin, expires_at=held.text(seconds=60))
    assert redeem(front, used["code"]).status == 201
    held.advance(seconds=60)
    for code, status, name in (
        (used["code"], 409, "INVITE_ALREADY_REDEEMED"),
        (expired["code"], 410, "INVITE_EXPIRED"),
        ("0" * 32, 404, "INVITE_NOT_FOUND"),
        ("nonsense", 404, "INVITE_NOT_FOUND"),
    ):
        refused = redeem(front, code)
        assert (refused.status, refused.json()["error"]["code"]) == (status, name)


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"name": ""}, "name", "VALIDATION_FIELD_REQUIRED"),
        ({"name": None}, "name", "VALIDATION_FIELD_REQUIRED"),
        ({"name": "n" * 201}, "name", "VALIDATION_INVALID_VALUE"),
        ({"type": "ghost"}, "type", "VALIDATION_INVALID_VALUE"),
        ({"max_uses": 0}, "max_uses", "VALIDATION_INVALID_VALUE"),
        ({"max_uses": 1_001}, "max_uses", "VALIDATION_INVALID_VALUE"),
        ({"max_uses": 1.5}, "max_uses", "VALIDATION_INVALID_TYPE"),
        ({"max_uses": True}, "max_uses", "VALIDATION_INVALID_TYPE"),
        ({"long": "yes"}, "long", "VALIDATION_INVALID_TYPE"),
        ({"expires_at": "tomorrow"}, "expires_at", "VALIDATION_INVALID_VALUE"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "VALIDATION_INVALID_VALUE"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "expires_at", "VALIDATION_INVALID_VALUE"),
        ({"scopes": ["planets:read"]}, "scopes", "VALIDATION_INVALID_VALUE"),
        ({"scopes": "services:read"}, "scopes", "VALIDATION_INVALID_TYPE"),
        (
            {"permissions": {"rings": ["a"], "ring_scopes": ["b"]}},
            "permissions.rings",
            "VALIDATION_INVALID_VALUE",
        ),
    ],
)
def test_the_error_for_a_bad_invite_names_its_field(
    front: Front, admin: Holder, fields: dict[str, Any], field: str, code: str
) -> None:
    refused = create(front, admin, **fields)
    error = refused.json()["error"]
    assert (refused.status, error["code"], error["details"]["field"]) == (400, code, field)


def test_only_a_manager_can_invite_and_the_error_names_the_rule(
    front: Front, people: People, admin: Holder
) -> None:
    refused = create(front, people.employee(admin))
    error = refused.json()["error"]
    assert (refused.status, error["code"]) == (403, "POLICY_DENIED")
    assert error["details"]["rule"] == "admin_action_restriction"
    assert error["details"]["would_allow"] == {"is_admin": True}
    assert front("POST", "/invite/create", body={"name": "x", "type": "human"}).status == 401


def test_a_repeated_request_names_the_invite_and_creates_none(front: Front, admin: Holder) -> None:
    once = {"Idempotency-Key": "once"}
    invite = created(front, admin, headers=once)
    again = create(front, admin, headers=once)
    error = again.json()["error"]
    assert (again.status, error["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert error["details"]["id"] == invite["id"]
    assert invite["code"] not in again.text
    assert create(front, admin, headers=once, name="other").status == 409
    assert len(front("GET", "/admin/invites", key=admin.key).json()["data"]) == 1


def test_the_sixth_wrong_code_is_429_for_ten_minutes(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    invite, source = created(front, admin), "192.0.2.66"
    wrong = [redeem(front, f"{number:08x}", source=source).status for number in range(6)]
    assert wrong == [404] * 5 + [429]
    refused = redeem(front, invite["code"], source=source)
    assert (refused.status, refused.headers["retry-after"]) == (429, "600")
    assert refused.json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    forged = front(
        "POST",
        "/invite",
        body={"code": invite["code"], "name": "bo", "type": "human"},
        headers={"X-Forwarded-For": "192.0.2.67"},
        source=source,
    )
    assert forged.status == 429, "the address comes from API Gateway, not from a header"
    assert redeem(front, "not a code", source=source).status == 404
    held.advance(seconds=600)
    assert redeem(front, invite["code"], source=source).status == 201


def test_invites_are_listed_newest_first_within_their_account(
    front: Front, people: People, admin: Holder
) -> None:
    ids = [created(front, admin)["id"] for _ in range(5)]
    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        page = front("GET", "/admin/invites", key=admin.key, query=query)
        seen += [view["id"] for view in page.json()["data"]]
        cursor = page.json()["meta"].get("cursor")
        assert page.headers.get("x-next-cursor") == cursor
        if cursor is None:
            break
        query["after"] = cursor
    assert sorted(seen, reverse=True) == seen
    assert set(seen) == set(ids)
    stranger = people.tenant()
    assert front("GET", "/admin/invites", key=stranger.key).json()["data"] == []
    foreign = front("GET", "/admin/invites", key=stranger.key, query=query)
    assert foreign.status == 400
    for limit in ("0", "101", "x"):
        answer = front("GET", "/admin/invites", key=admin.key, query={"limit": limit})
        assert answer.status == 400
