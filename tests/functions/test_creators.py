"""What an admin made waits while they are suspended, removed or demoted, and goes on after that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from gatehouse.audit.model import Origin
from gatehouse.core import clock
from gatehouse.core.maker import Maker
from gatehouse.dynamo.table import Tables
from gatehouse.federation import removal as peers
from gatehouse.identities.model import IdentityPatch
from gatehouse.invites import ending as invites
from gatehouse.memberships import actions as memberships
from gatehouse.webhooks import creators as webhooks
from support.actors.people import Holder, People
from support.actors.signers import proven
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error
from support.aws.invocation import Answer, Context
from support.checks.invariants import check_invariants, kind

pytestmark = pytest.mark.usefixtures(
    "settings_key", "delivery_queue", "relay_queue", "held", "loopback_allowed"
)

URL = "http://127.0.0.1:9000/in"
ORIGIN = Origin(actor="identity:test", request_id="request")
ABSENT = {
    "creator_suspended": ({"status": "suspended"}, {"status": "active"}),
    "creator_removed": ({"status": "removed"}, {"status": "active"}),
    "creator_demoted": ({"is_admin": False}, {"is_admin": True}),
    "creator_narrowed": (
        {"permissions": {"ring_scopes": ["red"]}},
        {"permissions": {"ring_scopes": []}},
    ),
}


@pytest.fixture
def ada(front: Front, admin: Holder) -> Holder:
    """Return a second admin: they came by an invite and were promoted by the first."""
    body = {"name": "Ada", "type": "human", "long": True}
    code = front("POST", "/invite/create", key=admin.key, body=body).json()["data"]["code"]
    body = {"code": code, "name": "Ada", "type": "human"}
    key = front("POST", "/invite", body=body).json()["data"]["api_key"]
    me = front("GET", "/v1/whoami", key=key).json()["data"]
    member = Holder(admin.account_id, me["identity"]["id"], me["key"]["id"], key)
    assert change(front, admin, member, is_admin=True).status == 200
    return member


class Work:
    """A webhook, a peer and an invite of one admin."""

    def __init__(self, front: Front, maker: Holder) -> None:
        self.front, self.maker = front, maker
        made = self._post("/admin/webhooks", {"url": URL})
        self.webhook: str = made["id"]
        self.peer = self._post("/federation/trust", {"name": "p", "endpoint": "https://p.example"})
        self.invite = self._post("/invite/create", {"name": "n", "type": "human", "long": True})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.front("POST", path, key=self.maker.key, body=body)
        assert answer.status == 201, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def ids(self) -> dict[str, list[str]]:
        """Return the ids as the answer of a PATCH lists them."""
        return {
            "webhooks": [self.webhook],
            "peers": [self.peer["peer_id"]],
            "invites": [self.invite["id"]],
        }

    def state(self, viewer: Holder) -> tuple[Any, ...]:
        """Return how the webhook, the peer and its next signal stand."""
        shown = self.front("GET", f"/admin/webhooks/{self.webhook}", key=viewer.key).json()["data"]
        listed = self.front("GET", "/admin/peers", key=viewer.key).json()["data"]
        (peer,) = [one for one in listed if one["id"] == self.peer["peer_id"]]
        body, headers = proven(self.peer)
        sent = self.front("POST", "/federation/inbound", body=body, headers=headers)
        return shown["active"], shown["disabled_reason"], peer["status"], sent.status

    def redeem(self) -> Answer:
        """Redeem the invite."""
        body = {"code": self.invite["code"], "name": "bo", "type": "human"}
        return self.front("POST", "/invite", body=body)


def change(front: Front, by: Holder, target: Holder, **fields: Any) -> Answer:
    return front("PATCH", f"/admin/identities/{target.identity_id}", key=by.key, body=fields)


def suspend(stack: Tables, target: Holder, status: str = "suspended") -> None:
    """Suspend an identity, or set another status, within another request."""
    memberships.apply(
        stack,
        target.account_id,
        target.identity_id,
        patch=IdentityPatch(status=status),
        origin=ORIGIN,
        now=clock.now(),
    )


def activate(front: Front, by: Holder, webhook: str) -> Answer:
    return front("PATCH", f"/admin/webhooks/{webhook}", key=by.key, body={"active": True})


@pytest.mark.parametrize(("reason", "patches"), ABSENT.items(), ids=ABSENT)
def test_what_an_admin_made_waits_and_goes_on_with_them(
    front: Front, admin: Holder, ada: Holder, stack: Tables, reason: str, patches: Any
) -> None:
    away, back = patches
    theirs, others = Work(front, ada), Work(front, admin)
    left = change(front, admin, ada, **away).json()["data"]
    assert (left["waiting"], "resumed" in left) == (theirs.ids(), False)
    assert theirs.state(admin) == (False, reason, "waiting", 401)
    assert theirs.redeem().status == 410
    assert others.state(admin) == (True, None, "active", 201)

    returned = change(front, admin, ada, **back).json()["data"]
    assert (returned["resumed"], "waiting" in returned) == (theirs.ids(), False)
    assert theirs.state(admin) == (True, None, "active", 201)
    assert theirs.redeem().status == 201
    assert (
        change(front, admin, ada, name="Ada")
        .json()["data"]
        .keys()
        .isdisjoint({"waiting", "resumed"})
    )
    check_invariants(stack, now=clock.now())


def test_views_and_audit_events_name_who_made_a_thing(
    front: Front, admin: Holder, ada: Holder
) -> None:
    made = {one for ids in Work(front, ada).ids().values() for one in ids}
    maker = {"created_by": f"identity:{ada.identity_id}", "created_by_key": f"api_key:{ada.key_id}"}
    for path in ("/admin/webhooks", "/admin/peers", "/admin/invites"):
        listed = front("GET", path, key=admin.key).json()["data"]
        (shown,) = [one for one in listed if one["id"] in made]
        assert {name: shown[name] for name in maker} == maker, path
    trail = front("GET", "/admin/audit", key=admin.key).json()["data"]["events"]
    theirs = [event for event in trail if event["actor"] == maker["created_by"]]
    # Not those of joining: all have the same time.
    actions = {"webhook.create", "peer.trust", "invite.create"}
    creations = [event for event in theirs if event["action"] in actions]
    assert len(creations) == len(made)
    for event in creations:
        assert {name: event["after"][name] for name in maker} == maker


def test_the_reason_follows_the_state_of_the_creator(
    front: Front, admin: Holder, ada: Holder
) -> None:
    theirs = Work(front, ada)
    for fields, reason in (
        ({"is_admin": False}, "creator_demoted"),
        ({"status": "suspended"}, "creator_suspended"),
        ({"status": "removed"}, "creator_removed"),
        ({"status": "active"}, "creator_demoted"),
        ({"is_admin": True}, None),
        ({"scopes": ["services:*", "agents:*"]}, "creator_demoted"),
        ({"scopes": ["admin:manage", "agents:write"]}, "creator_narrowed"),
        ({"scopes": ["admin:manage", "agents:read"]}, None),
        ({"scopes": ["*"]}, None),
    ):
        assert change(front, admin, ada, **fields).status == 200
        assert theirs.state(admin)[:2] == (reason is None, reason)


def test_of_what_a_narrowed_admin_made_only_what_exceeds_the_new_ceiling_waits(
    front: Front, admin: Holder, ada: Holder
) -> None:
    theirs = Work(front, ada)
    left = change(front, admin, ada, scopes=["admin:manage", "agents:read"]).json()["data"]
    assert left["waiting"] == theirs.ids() | {"webhooks": []}
    assert theirs.state(admin) == (True, None, "waiting", 401)
    assert theirs.redeem().status == 410
    both = change(front, admin, ada, scopes=["admin:manage", "agents:write"]).json()["data"]
    assert both["waiting"] == {"webhooks": [theirs.webhook], "peers": [], "invites": []}
    assert both["resumed"] == {"webhooks": [], "peers": theirs.ids()["peers"], "invites": []}
    assert theirs.state(admin) == (False, "creator_narrowed", "active", 201)


def test_keys_that_an_admin_made_for_others_go_on_and_are_listed(
    front: Front, people: People, admin: Holder, ada: Holder
) -> None:
    body = {"name": "worker", "owner": f"identity:{admin.identity_id}"}
    made, revoked = (
        front("POST", "/admin/api-keys", key=ada.key, body=body).json()["data"] for _ in range(2)
    )
    front("POST", f"/admin/api-keys/{revoked['id']}/revoke", key=admin.key)
    people.key(ada)
    for fields, listed in (
        ({"status": "suspended"}, [made["id"]]),
        ({"status": "removed"}, None),
        ({"status": "active"}, None),
        ({"is_admin": False}, [made["id"]]),
    ):
        assert change(front, admin, ada, **fields).json()["data"].get("live_keys") == listed
    assert front("GET", "/v1/whoami", key=made["api_key"]).status == 200


def test_who_widens_a_webhook_beyond_its_creators_ceiling_answers_for_it(
    front: Front, admin: Holder, ada: Holder
) -> None:
    ceiling = {"scopes": ["admin:manage", "agents:*"], "permissions": {"ring_scopes": ["red"]}}
    assert change(front, admin, ada, **ceiling).status == 200
    body = {"url": URL, "filters": {"rings": ["red"]}}
    made = front("POST", "/admin/webhooks", key=ada.key, body=body).json()["data"]
    path = f"/admin/webhooks/{made['id']}"
    for filters, by in (({"types": ["task"], "rings": ["red"]}, ada), ({"rings": ["blue"]}, admin)):
        answer = front("PATCH", path, key=admin.key, body={"filters": filters})
        assert answer.json()["data"]["created_by"] == f"identity:{by.identity_id}"
    change(front, admin, ada, status="suspended")
    assert front("GET", path, key=admin.key).json()["data"]["active"] is True


def test_a_webhook_that_an_admin_paused_stays_paused_when_its_creator_is_back(
    front: Front, admin: Holder, ada: Holder
) -> None:
    theirs = Work(front, ada)
    path = f"/admin/webhooks/{theirs.webhook}"
    assert front("PATCH", path, key=admin.key, body={"active": False}).status == 200
    left = change(front, admin, ada, status="suspended").json()["data"]
    assert left["waiting"]["webhooks"] == []
    change(front, admin, ada, status="active")
    assert theirs.state(admin)[:2] == (False, None)


def test_another_admin_adopts_a_waiting_webhook_within_their_reach(
    front: Front, people: People, admin: Holder, ada: Holder
) -> None:
    theirs = Work(front, ada)
    change(front, admin, ada, status="removed")
    narrow = people.key(admin, scopes=["admin:manage"])
    assert activate(front, narrow, theirs.webhook).status == 403
    adopted = activate(front, admin, theirs.webhook).json()["data"]
    assert (adopted["active"], adopted["disabled_reason"]) == (True, None)
    assert adopted["created_by"] == f"identity:{admin.identity_id}"
    assert adopted["created_by_key"] == f"api_key:{admin.key_id}"
    left = change(front, admin, ada, status="suspended").json()["data"]
    assert "waiting" not in left, "they were absent before"
    assert theirs.state(admin)[0] is True


def test_an_admin_who_activates_for_an_active_creator_adopts_nothing(
    front: Front, admin: Holder, ada: Holder
) -> None:
    theirs = Work(front, ada)
    path = f"/admin/webhooks/{theirs.webhook}"
    front("PATCH", path, key=admin.key, body={"active": False})
    shown = activate(front, admin, theirs.webhook).json()["data"]
    assert shown["created_by"] == f"identity:{ada.identity_id}"


def test_deliveries_that_waited_with_the_creator_are_sent_after_their_return(
    front: Front, admin: Holder, ada: Holder, stack: Tables
) -> None:
    webhook = Work(front, ada).webhook.removeprefix("webhook:")

    def marked() -> bool:
        markers = kind(check_invariants(stack, now=clock.now()), "WAKE#")
        return any(item["sk"].endswith(webhook) for item in markers)

    change(front, admin, ada, status="suspended")
    assert not marked()
    change(front, admin, ada, status="active")
    assert marked()


def test_the_sweeper_pauses_what_a_crash_left_active(
    front: Front, admin: Holder, ada: Holder, stack: Tables, line: Wire
) -> None:
    theirs = Work(front, ada)
    line.clear()
    line.before = lambda *_: (
        error("ThrottlingException") if "TransactWriteItems" in line.calls[:-1] else None
    )
    assert change(front, admin, ada, status="suspended").status == 503
    line.clear()
    assert theirs.state(admin)[0] is True
    assert front.function("sweeper").handler({}, Context())["memberships"] == 1
    assert theirs.state(admin)[:2] == (False, "creator_suspended")
    check_invariants(stack, now=clock.now())


def test_a_creator_who_is_back_before_their_webhook_is_paused_keeps_it_active(
    front: Front, admin: Holder, ada: Holder, stack: Tables, line: Wire
) -> None:
    theirs = Work(front, ada)

    def come_back_first(_: int, operation: str) -> None:
        # The first two write the identity and its event, the third pauses the webhook.
        if operation == "TransactWriteItems" and line.calls.count(operation) == 3:
            line.before = None
            suspend(stack, ada, "active")

    line.clear()
    line.before = come_back_first
    assert change(front, admin, ada, status="suspended").status == 200
    assert line.before is None
    line.clear()
    assert theirs.state(admin) == (True, None, "active", 201)


def test_a_webhook_created_while_its_creator_is_suspended_is_refused(
    front: Front, admin: Holder, ada: Holder, stack: Tables, line: Wire
) -> None:
    def suspend_first(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            line.before = None
            suspend(stack, ada)

    line.clear()
    line.before = suspend_first
    refused = front("POST", "/admin/webhooks", key=ada.key, body={"url": URL})
    assert (refused.status, refused.json()["error"]["code"]) == (409, "IDENTITY_NOT_ACTIVE")
    assert front("GET", "/admin/webhooks", key=admin.key).json()["data"] == []


def test_an_activation_and_the_suspension_of_the_creator_leave_nothing_active(
    front: Front, admin: Holder, ada: Holder, stack: Tables, line: Wire
) -> None:
    theirs = Work(front, ada)
    path = f"/admin/webhooks/{theirs.webhook}"
    front("PATCH", path, key=admin.key, body={"active": False})

    def suspend_first(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            line.before = None
            suspend(stack, ada)

    line.clear()
    line.before = suspend_first
    shown = activate(front, admin, theirs.webhook).json()["data"]
    assert (shown["active"], shown["created_by"]) == (True, f"identity:{admin.identity_id}")


class OneKey:
    """Means the things that one key made."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id

    def among(self, makers: Iterable[Maker]) -> set[Maker]:
        """Return the makers that used this key."""
        return {maker for maker in makers if maker.key_id == self.key_id}


def test_what_revoked_keys_made_is_ended(
    front: Front, people: People, admin: Holder, ada: Holder, stack: Tables
) -> None:
    other = people.key(ada)
    first, second = Work(front, ada), Work(front, other)
    by, main, now = OneKey(ada.key_id), stack.main, clock.now()
    front("PATCH", f"/admin/webhooks/{first.webhook}", key=admin.key, body={"active": False})
    for expected in (first.ids(), {"webhooks": [], "peers": [], "invites": []}):
        assert {
            "webhooks": webhooks.end_made(main, ada.account_id, by, origin=ORIGIN, now=now),
            "peers": peers.end_made(main, ada.account_id, by, origin=ORIGIN, now=now),
            "invites": invites.end_made(main, ada.account_id, by, origin=ORIGIN, now=now),
        } == expected
    assert first.redeem().status == 410
    shown = front("GET", f"/admin/webhooks/{first.webhook}", key=admin.key).json()["data"]
    assert (shown["active"], shown["disabled_reason"]) == (False, "creator_key_revoked")
    assert second.state(admin) == (True, None, "active", 201)
    assert second.redeem().status == 201
    change(front, admin, ada, status="suspended")
    change(front, admin, ada, status="active")
    assert (
        front("GET", f"/admin/webhooks/{first.webhook}", key=admin.key).json()["data"]["active"]
        is False
    )
    adopted = activate(front, other, first.webhook).json()["data"]
    assert adopted["created_by_key"] == f"api_key:{other.key_id}"
    check_invariants(stack, now=clock.now())
