"""Endings: nobody else's traffic delays them, and none stays without its audit event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.audit import endings, sweep
from gatehouse.audit.actions import Refused
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import MINUTE, rfc3339
from gatehouse.core.errors import NotFound, Unavailable
from gatehouse.core.grants import Grants
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.federation import actions as federation
from gatehouse.identities.model import Membership
from gatehouse.keys import actions as keys
from gatehouse.keys.model import MOST_LIVE, KeyPatch
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import NewFilters, WebhookFields
from support.actors.members import (
    change,
    identity_of,
    key_of,
    member,
    new_vault,
    trusted,
    unlimited_admin,
)
from support.actors.visitor import Visitor, key_request
from support.aws.busy_chain import busy_chain
from support.aws.faults import Killed, Wire, die_at
from support.aws.snapshot import Rewind
from support.checks.inspection import State
from support.checks.invariants import check_invariants, check_owners_of_keys

Prepared = tuple[Callable[[], Any], Callable[[], bool]]
Prepare = Callable[[Visitor], Prepared]
MOST_CALLS = 30


def _revoke(caller: Visitor) -> Prepared:
    made = keys.create(caller.tables, caller.call(), key_request())
    act = lambda: keys.revoke(caller.tables, caller.call(), made.key.id)  # noqa: E731
    return act, lambda: caller.admit(made.secret).code is Code.REVOKED


def _disable(caller: Visitor) -> Prepared:
    made = keys.create(caller.tables, caller.call(), key_request())
    patch = KeyPatch(enabled=False)
    act = lambda: keys.patch(caller.tables, caller.call(), made.key.id, patch)  # noqa: E731
    return act, lambda: caller.admit(made.secret).code is Code.DISABLED


def _suspend(caller: Visitor) -> Prepared:
    target = member(caller)
    made = key_of(caller, target)
    act = lambda: change(caller, target, status="suspended")  # noqa: E731
    return act, lambda: caller.admit(made.secret).code is Code.DISABLED


def _remove_a_member(caller: Visitor) -> Prepared:
    target = member(caller)
    made = key_of(caller, target)
    act = lambda: change(caller, target, status="removed")  # noqa: E731
    return act, lambda: caller.admit(made.secret).code is Code.DISABLED


def _demote(caller: Visitor) -> Prepared:
    target = member(caller)
    change(caller, target, is_admin=True)
    made = key_of(caller, target)
    act = lambda: change(caller, target, is_admin=False)  # noqa: E731
    return act, lambda: not caller.admit(made.secret).principal().is_admin


def _narrow(caller: Visitor) -> Prepared:
    target = member(caller)
    made = key_of(caller, target)
    ceiling = Grants(("services:read",))
    act = lambda: change(caller, target, ceiling=ceiling)  # noqa: E731
    return act, lambda: caller.admit(made.secret).principal().grants == ceiling


def _remove_a_peer(caller: Visitor) -> Prepared:
    peer = trusted(caller, new_vault()).peer
    act = lambda: federation.remove(caller.tables, caller.call(), peer.id)  # noqa: E731
    return act, lambda: federation.list_peers(caller.tables.main, caller.account_id, 0) == []


def _delete_a_webhook(caller: Visitor) -> Prepared:
    table, fields = caller.tables.main, WebhookFields(url="http://127.0.0.1:9000/in")
    one = webhooks.create(table, caller.call(), new_vault(), fields=fields).webhook
    act = lambda: webhooks.remove(table, caller.call(), one.id)  # noqa: E731
    return act, lambda: webhooks.find(table, caller.account_id, one.id) is None


def _patch_a_webhook(caller: Visitor, **fields: Any) -> Prepared:
    table, vault, url = caller.tables.main, new_vault(), "http://127.0.0.1:9000/in"
    one = webhooks.create(table, caller.call(), vault, fields=WebhookFields(url=url)).webhook
    patch = WebhookFields(**fields)
    act = lambda: webhooks.update(  # noqa: E731
        table, caller.call(), vault, one.id, fields=patch
    )
    return act, lambda: webhooks.get(table, caller.account_id, one.id).version > one.version


def _pause_a_webhook(caller: Visitor) -> Prepared:
    return _patch_a_webhook(caller, active=False)


def _narrow_a_webhook(caller: Visitor) -> Prepared:
    return _patch_a_webhook(caller, filters=NewFilters(types=("task",)))


EVERY: list[Prepare] = [
    *(_revoke, _disable, _suspend, _remove_a_member, _demote, _narrow),
    *(_remove_a_peer, _delete_a_webhook, _pause_a_webhook, _narrow_a_webhook),
]


def _named(prepare: Prepare) -> str:
    return prepare.__name__.strip("_").replace("_", " ")


@pytest.fixture
def busy(
    caller: Visitor, monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> Callable[[], None]:
    """Make the chain so busy that nobody else moves its head; call the value to start."""
    del sleeps

    def start() -> None:
        monkeypatch.setattr(caller.tables.main.client, "transact_write_items", busy_chain(caller))

    return start


@pytest.mark.usefixtures("settings_key", "loopback_allowed")
@pytest.mark.parametrize("prepare", EVERY, ids=_named)
def test_an_ending_answers_and_holds_while_the_chain_is_busy(
    caller: Visitor, prepare: Prepare, busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    act, ended = prepare(caller)
    before = State(caller.tables).events(caller.account_id)
    busy()
    with pytest.raises(Unavailable):
        keys.create(caller.tables, caller.call(), key_request())
    act()
    assert ended()
    state = check_invariants(caller.tables, now=caller.now)
    assert state.events(caller.account_id) == before
    assert state.endings(caller.account_id), "a marker stands for the event"
    with pytest.raises(Unavailable):
        sweep.sweep(caller.tables.main, now=caller.now + MINUTE)
    monkeypatch.undo()
    assert sweep.sweep(caller.tables.main, now=caller.now + MINUTE) >= 1
    state = check_invariants(caller.tables, now=caller.now)
    check_owners_of_keys(state, now=caller.now)
    assert state.endings(caller.account_id) == []
    late = state.events(caller.account_id)[len(before) :]
    assert {event["created_at"] for event in late} == {rfc3339(caller.now)}
    assert {event["recorded_at"] for event in late} == {rfc3339(caller.now + MINUTE)}


@pytest.mark.usefixtures("settings_key", "loopback_allowed")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("prepare", EVERY, ids=_named)
def test_a_crash_at_any_call_leaves_no_ending_without_its_event(
    tables: Tables, room_line: Wire, prepare: Prepare, when: str
) -> None:
    took_effect = []
    caller = unlimited_admin(tables)
    act, ended = prepare(caller)
    trail = len(State(tables).events(caller.account_id))
    start = Rewind(tables)
    for number in range(1, MOST_CALLS):
        start.back()
        room_line.clear()
        setattr(room_line, when, die_at(number))
        try:
            act()
        except Killed:
            died = True
        else:
            died = False
        room_line.clear()
        check_invariants(tables, now=caller.now)
        waiting = bool(State(tables).endings(caller.account_id))
        took_effect.append(waiting)
        sweep.sweep(tables.main, now=caller.now)
        state = check_invariants(tables, now=caller.now)
        assert state.endings(caller.account_id) == []
        if waiting:
            assert len(state.events(caller.account_id)) > trail
        if not died:
            assert ended()
            break
    assert any(took_effect), "one crash lies between the effect and its event"


def test_an_ending_recorded_by_two_at_once_has_one_event(caller: Visitor, room_line: Wire) -> None:
    made = keys.create(caller.tables, caller.call(), key_request())

    def sweep_first(_: int, operation: str) -> None:
        if operation == "TransactWriteItems" and len(
            State(caller.tables).endings(caller.account_id)
        ):
            room_line.before = None
            sweep.sweep(caller.tables.main, now=caller.now)

    room_line.before = sweep_first
    keys.revoke(caller.tables, caller.call(), made.key.id)
    events = check_invariants(caller.tables, now=caller.now).events(caller.account_id)
    assert [event["action"] for event in events].count("api_key.revoke") == 1


def test_what_ended_twice_ends_once(caller: Visitor) -> None:
    made = keys.create(caller.tables, caller.call(), key_request())
    keys.revoke(caller.tables, caller.call(), made.key.id)
    with pytest.raises(NotFound):
        keys.revoke(caller.tables, caller.call(), made.key.id)


def test_a_refused_ending_leaves_no_marker(caller: Visitor) -> None:
    table = caller.tables.main
    never = table.check({"pk": "X#1", "sk": "X"}, condition="a = :a", names={}, values={":a": 1})
    with pytest.raises(Refused) as refused:
        endings.end(
            table,
            caller.account_id,
            writes={"never": never},
            changes=[Change("api_key.revoke", "api_key:1")],
            origin=Origin("identity:1", "r"),
            now=caller.now,
        )
    assert refused.value.failed == {"never": None}
    assert State(caller.tables).endings(caller.account_id) == []


def test_the_counter_of_live_keys_is_never_too_low_while_an_ending_waits(
    caller: Visitor, busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recount at the bound leaves in what the waiting ending will take off."""
    made = keys.create(caller.tables, caller.call(), key_request())
    table = caller.tables.main
    counter = {"pk": f"KEYS#{caller.account_id}#COUNT", "sk": "COUNT"}
    full, exists = {":n": MOST_LIVE}, "attribute_exists(pk)"
    busy()
    keys.revoke(caller.tables, caller.call(), made.key.id)
    monkeypatch.undo()
    table.update(counter, "SET live = :n", condition=exists, names={}, values=full)
    keys.create(caller.tables, caller.call(), key_request())
    sweep.sweep(table, now=caller.now)
    check_invariants(caller.tables, now=caller.now)


def test_a_suspended_member_is_still_suspended_after_a_late_event(
    caller: Visitor, busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = member(caller)
    busy()
    change(caller, target, status="suspended")
    monkeypatch.undo()
    change(caller, target, status="active")
    sweep.sweep(caller.tables.main, now=caller.now)
    assert identity_of(target).membership is Membership.ACTIVE
    check_invariants(caller.tables, now=caller.now)
