"""Killed at every call to the tables, before it and after it: a webhook is never half changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.audit.model import Origin
from gatehouse.core.errors import IdempotencyReused, NotFound, Unavailable
from gatehouse.dynamo.table import Tables
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import update as updates
from gatehouse.webhooks.model import Webhook
from support.actors.members import boss, vault
from support.actors.visitor import Visitor
from support.aws.faults import Killed, Wire, conflict_in_transaction, die_at, error, first
from support.checks.inspection import State
from support.checks.invariants import check_standing

URL = "http://127.0.0.1:9000/in"
MOST_CALLS = 20
WORKER = Origin(actor="system:delivery", request_id="delivery")

Act = Callable[[Visitor, Vault, Webhook], Any]


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")


@pytest.fixture
def kept_in(settings_key: str, tables: Tables) -> Vault:
    del settings_key, tables
    return vault()


def _create(who: Visitor, kept_in: Vault, _: Webhook) -> Any:
    fields = {"url": URL, "headers": {"X-A": "1"}}
    return webhooks.create(who.tables.main, who.call(token="c"), kept_in, fields=fields)


def _update(who: Visitor, kept_in: Vault, one: Webhook) -> Any:
    fields = {"active": False, "headers": {"X-B": "2"}}
    return webhooks.update(who.tables.main, who.call(), kept_in, one.id, fields=fields)


def _rotate(who: Visitor, kept_in: Vault, one: Webhook) -> Any:
    return webhooks.rotate_secret(
        who.tables.main, who.call(token="r"), kept_in, one.id, grace_seconds=60
    )


def _remove(who: Visitor, _: Vault, one: Webhook) -> Any:
    return webhooks.remove(who.tables.main, who.call(), one.id)


def _disable(who: Visitor, _: Vault, one: Webhook) -> Any:
    seen = updates.get(who.tables.main, who.account_id, one.id)
    if seen.active:
        webhooks.disable(who.tables.main, seen, reason="gone", also={}, origin=WORKER, now=who.now)


ACTIONS: list[Act] = [_create, _update, _rotate, _remove, _disable]
ONCE = {_create: IdempotencyReused, _rotate: IdempotencyReused, _remove: NotFound}


def _named(act: Act) -> str:
    return act.__name__.strip("_")


def _died(room_line: Wire, when: str, number: int, act: Callable[[], Any]) -> bool:
    room_line.clear()
    setattr(room_line, when, die_at(number))
    try:
        act()
    except Killed:
        return True
    finally:
        room_line.clear()
    return False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("act", ACTIONS, ids=_named)
def test_a_death_at_any_call_leaves_all_or_nothing_and_the_repeat_finishes(
    tables: Tables, kept_in: Vault, room_line: Wire, act: Act, when: str
) -> None:
    died_at = []
    for number in range(1, MOST_CALLS):
        who = boss(tables)
        fields = {"url": URL, "headers": {"X-A": "1"}}
        one = webhooks.create(tables.main, who.call(), kept_in, fields=fields)
        before = State(tables).main
        if not _died(room_line, when, number, lambda w=who, o=one: act(w, kept_in, o.webhook)):
            break
        died_at.append(number)
        changed = check_standing(tables, now=who.now).main != before
        assert not (changed and when == "before")
        if changed and act in ONCE:
            with pytest.raises(ONCE[act]):
                act(who, kept_in, one.webhook)
        else:
            act(who, kept_in, one.webhook)
        check_standing(tables, now=who.now)
        there = webhooks.find(tables.main, who.account_id, one.webhook.id)
        if there is None:
            assert act is _remove
            continue
        material = webhooks.material(tables.main, kept_in, there, now=who.now)
        assert material is not None
        assert one.secret in material.secrets
        assert tuple(material.headers) == there.header_names
        assert there.version == (1 if act is _create else 2)
        assert len(material.secrets) == (2 if act is _rotate else 1)
    assert len(died_at) >= 2, "it was killed at least twice"


def test_a_conflict_with_another_transaction_is_tried_again(
    tables: Tables, kept_in: Vault, room_line: Wire, sleeps: list[float]
) -> None:
    who = boss(tables)
    one = webhooks.create(tables.main, who.call(), kept_in, fields={"url": URL}).webhook
    room_line.before = first(2, lambda: conflict_in_transaction(5), "TransactWriteItems")
    _update(who, kept_in, one)
    assert len(sleeps) == 2
    room_line.before = first(99, lambda: conflict_in_transaction(5), "TransactWriteItems")
    with pytest.raises(Unavailable):
        _rotate(who, kept_in, one)
    room_line.clear()
    check_standing(tables, now=who.now)


def test_a_webhook_that_changes_all_the_time_is_unavailable_rather_than_half_decided(
    tables: Tables, kept_in: Vault, room_line: Wire
) -> None:
    who = boss(tables)
    one = webhooks.create(tables.main, who.call(), kept_in, fields={"url": URL}).webhook
    reasons = [{"Code": "ConditionalCheckFailed"}] + [{"Code": "None"}] * 3
    room_line.before = first(
        99,
        lambda: error("TransactionCanceledException", CancellationReasons=reasons),
        "TransactWriteItems",
    )
    with pytest.raises(Unavailable):
        webhooks.update(tables.main, who.call(), kept_in, one.id, fields={"active": False})
    room_line.clear()
    assert updates.get(tables.main, who.account_id, one.id) == one
