"""The identity routes, and what a change means for the next request of every key."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error
from support.aws.invocation import Answer
from support.worlds.held_clock import HeldClock

VIEW = {
    *("id", "name", "type", "is_admin", "claw_type", "status", "wallet_address", "scopes"),
    *("permissions", "created_at"),
}

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "relay_queue", "held")


def redeem_invite(front: Front, admin: Holder, **fields: Any) -> Holder:
    """Add a member by an invite with a long code."""
    body = {"name": "new", "type": "human", "long": True, **fields}
    code = front("POST", "/invite/create", key=admin.key, body=body).json()["data"]["code"]
    came = front("POST", "/invite", body={"code": code, "name": "bo", "type": "human"})
    assert came.status == 201, came.text
    data = came.json()["data"]
    return Holder(
        admin.account_id,
        data["identity"]["id"].removeprefix("identity:"),
        data["api_key_id"].removeprefix("api_key:"),
        data["api_key"],
    )


def patch(front: Front, admin: Holder, caller: Holder, **fields: Any) -> Answer:
    path = f"/admin/identities/identity:{caller.identity_id}"
    return front("PATCH", path, key=admin.key, body=fields)


def answers(front: Front, key: str) -> int:
    return front("GET", "/v1/whoami", key=key).status


def test_identities_are_listed_oldest_first_and_shown_in_both_id_forms(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    members = []
    for _ in range(3):
        held.advance(seconds=1)
        members.append(redeem_invite(front, admin))
    listed = front("GET", "/admin/identities", key=admin.key).json()["data"]
    assert {view["id"] for view in listed} == {
        f"identity:{one.identity_id}" for one in (admin, *members)
    }
    assert [set(view) for view in listed] == [VIEW] * 4
    assert listed[0]["is_admin"], "the account's first"
    for shown in (members[0].identity_id, f"identity:{members[0].identity_id.upper()}"):
        view = front("GET", f"/admin/identities/{shown}", key=admin.key).json()["data"]
        assert view in listed
    seen, query = [], {"limit": "3"}
    for _ in range(2):
        page = front("GET", "/admin/identities", key=admin.key, query=query)
        seen += page.json()["data"]
        query["after"] = page.json()["meta"].get("cursor", "")
    assert seen == listed


def test_an_unknown_or_foreign_identity_is_a_404(
    front: Front, people: People, admin: Holder
) -> None:
    stranger = people.tenant()
    for bare in (admin.identity_id, str(uuid.uuid4())):
        for method, body in (("GET", None), ("PATCH", {"name": "mine"})):
            path = f"/admin/identities/{bare}"
            refused = front(method, path, key=stranger.key, body=body)
            assert (refused.status, refused.json()["error"]["code"]) == (404, "IDENTITY_NOT_FOUND")
    for path in ("x", "peer:" + admin.identity_id, admin.identity_id + "0"):
        refused = front("GET", f"/admin/identities/{path}", key=admin.key)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "VALIDATION_INVALID_ID")


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_every_key_of_an_inactive_identity_is_refused_at_once(
    front: Front, people: People, admin: Holder, status: str
) -> None:
    caller = redeem_invite(front, admin)
    held = [caller.key, people.key(caller).key]
    body = {"owner": caller.identity_id}
    held.append(
        front("POST", "/admin/api-keys", key=admin.key, body=body).json()["data"]["api_key"]
    )
    assert [answers(front, key) for key in held] == [200] * 3
    assert patch(front, admin, caller, status=status).json()["data"]["status"] == status
    for key in held:
        for path in ("/v1/whoami", "/api/auth/keys", "/admin/audit"):
            assert front("GET", path, key=key).status == 401
    verified = front("POST", "/v1/keys/verify", key=admin.key, body={"key": caller.key})
    assert verified.json()["data"]["code"] == "DISABLED"
    refused = front("POST", "/admin/api-keys", key=admin.key, body=body)
    assert (refused.status, refused.json()["error"]["code"]) == (409, "IDENTITY_NOT_ACTIVE")
    assert patch(front, admin, caller, status="active").status == 200
    assert [answers(front, key) for key in held] == [200] * 3


def test_the_sweeper_completes_a_suspension_that_failed_half_way(
    front: Front, people: People, admin: Holder, line: Wire
) -> None:
    """Crashes are in rooms/test_memberships_propagation.py."""
    caller = redeem_invite(front, admin)
    other = people.key(caller)
    line.clear()
    line.before = lambda *_: error("ThrottlingException") if _follows(line) else None
    assert patch(front, admin, caller, status="suspended").status == 503
    line.clear()
    assert [answers(front, key) for key in (caller.key, other.key)] == [200, 200]
    sweeper = front.function("sweeper")
    assert sweeper.handler({"source": "aws.events"}, _Context())["memberships"] == 1
    assert [answers(front, key) for key in (caller.key, other.key)] == [401, 401]
    assert sweeper.handler({}, _Context())["memberships"] == 0
    events = front("GET", "/admin/audit", key=admin.key).json()["data"]["events"]
    assert events[0]["after"]["status"] == "suspended"


def test_repeating_a_suspension_that_failed_half_way_completes_it(
    front: Front, admin: Holder, line: Wire
) -> None:
    caller = redeem_invite(front, admin)
    line.clear()
    line.before = lambda *_: error("ThrottlingException") if _follows(line) else None
    assert patch(front, admin, caller, status="suspended").status == 503
    line.clear()
    assert answers(front, caller.key) == 200
    assert patch(front, admin, caller, status="suspended").status == 200
    assert answers(front, caller.key) == 401


def _follows(line: Wire) -> bool:
    """Check whether the current call comes after the write of the change."""
    return "TransactWriteItems" in line.calls[:-1]


class _Context:
    aws_request_id = "sweep-1"


def test_the_sweeper_raises_while_the_table_fails(front: Front, admin: Holder, line: Wire) -> None:
    """The schedule runs it again, and an alarm watches its errors."""
    del admin
    sweeper = front.function("sweeper")
    line.before = lambda *_: error("ThrottlingException")
    with pytest.raises(Exception, match="Unavailable"):
        sweeper.handler({}, _Context())


def test_promotion_and_demotion_apply_to_the_next_request(front: Front, admin: Holder) -> None:
    caller = redeem_invite(front, admin)
    for is_admin, status in ((True, 200), (False, 403)):
        assert patch(front, admin, caller, is_admin=is_admin).status == 200
        assert front("GET", "/admin/audit", key=caller.key).status == status
    refused = front("GET", "/admin/audit", key=caller.key).json()["error"]
    assert refused["details"]["rule"] == "admin_action_restriction"


@pytest.mark.parametrize(
    "fields",
    [
        {"is_admin": False},
        {"status": "suspended"},
        {"status": "removed"},
        {"scopes": ["services:*", "agents:*"]},
        {"scopes": []},
    ],
)
def test_the_last_admin_cannot_be_demoted_suspended_or_narrowed(
    front: Front, admin: Holder, fields: dict[str, Any]
) -> None:
    refused = patch(front, admin, admin, **fields)
    assert (refused.status, refused.json()["error"]["code"]) == (409, "IDENTITY_LAST_ADMIN")
    assert front("GET", "/admin/audit", key=admin.key).status == 200


def test_a_lower_ceiling_applies_to_the_next_request(front: Front, admin: Holder) -> None:
    caller = redeem_invite(front, admin, permissions={"ring_scopes": ["a"]})
    changed = patch(front, admin, caller, scopes=["services:read"]).json()["data"]
    assert (changed["scopes"], changed["permissions"]["ring_scopes"]) == (["services:read"], ["a"])
    me = front("GET", "/v1/whoami", key=caller.key).json()["data"]
    assert me["grants"]["scopes"] == me["key"]["scopes"] == ["services:read"]
    lists = {"signal_types": ["task"], "ring_scopes": ["a"]}
    changed = patch(front, admin, caller, permissions=lists).json()["data"]
    assert changed["scopes"] == ["services:read"]
    assert changed["permissions"]["signal_types"] == ["task"]


def test_a_ceiling_beyond_the_callers_grants_is_403_with_the_excess(
    front: Front, people: People, admin: Holder
) -> None:
    target = redeem_invite(front, admin, scopes=["services:read"])
    body = {"name": "narrow", "owner": admin.identity_id, "scopes": ["admin:manage", "services:*"]}
    made = front("POST", "/admin/api-keys", key=admin.key, body=body).json()["data"]
    narrow = Holder(admin.account_id, admin.identity_id, made["id"], made["api_key"])
    del people
    refused = patch(front, narrow, target, scopes=["agents:read", "services:write"])
    failed = refused.json()["error"]
    assert (refused.status, failed["code"]) == (403, "GRANTS_EXCEEDED")
    assert failed["details"] == {"scopes": ["agents:read"]}
    assert patch(front, narrow, target, scopes=["services:write"]).status == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"is_admin": "yes"}, "is_admin"),
        ({"is_admin": 1}, "is_admin"),
        ({"claw_type": "boss"}, "claw_type"),
        ({"status": "invited"}, "status"),
        ({"status": None}, "status"),
        ({"scopes": ["planets:read"]}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"permissions": {"memory_scopes": ["burn"]}}, "permissions.memory_scopes"),
    ],
)
def test_an_invalid_patch_names_its_field_and_changes_nothing(
    front: Front, admin: Holder, fields: dict[str, Any], field: str
) -> None:
    refused = patch(front, admin, admin, **fields)
    assert (refused.status, refused.json()["error"]["details"]["field"]) == (400, field)


def test_an_empty_patch_and_a_refused_one_change_nothing(front: Front, admin: Holder) -> None:
    path = f"/admin/identities/{admin.identity_id}"
    before = front("GET", path, key=admin.key).json()["data"]
    assert patch(front, admin, admin).json()["data"] == before
    assert patch(front, admin, admin, name="other", wallet_address="0x0").status == 400
    assert front("GET", path, key=admin.key).json()["data"] == before
