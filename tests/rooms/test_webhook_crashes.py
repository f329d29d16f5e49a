"""Webhooks when the process dies before or after any call to the tables: never half changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.audit.model import Origin
from gatehouse.core.errors import IdempotencyReused, NotFound, Unavailable
from gatehouse.dynamo.table import Tables
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import health, rotation
from gatehouse.webhooks.model import Webhook, WebhookFields
from gatehouse.webhooks.secret_cache import SecretCache
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
    fields = WebhookFields(url=URL, headers={"X-A": "1"})
    return webhooks.create(who.tables.main, who.call(token="c"), kept_in, fields=fields)


def _update(who: Visitor, kept_in: Vault, one: Webhook) -> Any:
    fields = WebhookFields(active=False, headers={"X-B": "2"})
    return webhooks.update(who.tables.main, who.call(), kept_in, one.id, fields=fields)


def _rotate(who: Visitor, kept_in: Vault, one: Webhook) -> Any:
    return rotation.rotate_secret(
        who.tables.main, who.call(token="r"), kept_in, one.id, grace_seconds=60
    )


def _remove(who: Visitor, _: Vault, one: Webhook) -> Any:
    return webhooks.remove(who.tables.main, who.call(), one.id)


def _disable(who: Visitor, _: Vault, one: Webhook) -> Any:
    seen = webhooks.get(who.tables.main, who.account_id, one.id)
    if seen.active:
        health.disable(who.tables.main, seen, reason="gone", also={}, origin=WORKER, now=who.now)


ACTIONS: list[Act] = [_create, _update, _rotate, _remove, _disable]
ONCE = {_create: IdempotencyReused, _rotate: IdempotencyReused, _remove: NotFound}


def _named(act: Act) -> str:
    return act.__name__.strip("_")


def _crashed(room_line: Wire, when: str, number: int, act: Callable[[], Any]) -> bool:
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
def test_a_crash_at_any_call_writes_all_or_nothing_and_a_repeat_completes_it(
    tables: Tables, kept_in: Vault, room_line: Wire, act: Act, when: str
) -> None:
    crashed_at = []
    for number in range(1, MOST_CALLS):
        who = boss(tables)
        fields = WebhookFields(url=URL, headers={"X-A": "1"})
        one = webhooks.create(tables.main, who.call(), kept_in, fields=fields)
        before = State(tables).main
        if not _crashed(room_line, when, number, lambda w=who, o=one: act(w, kept_in, o.webhook)):
            break
        crashed_at.append(number)
        changed = check_standing(tables, now=who.now).main != before
        assert not (changed and when == "before")
        if changed and act in ONCE:
            with pytest.raises(ONCE[act]):
                act(who, kept_in, one.webhook)
        else:
            act(who, kept_in, one.webhook)
        check_standing(tables, now=who.now)
        after = webhooks.find(tables.main, who.account_id, one.webhook.id)
        if after is None:
            assert act is _remove
            continue
        material = SecretCache(tables.main, kept_in).find_material(after, now=who.now)
        assert material is not None
        assert one.secret in material.secrets
        assert tuple(material.headers) == after.header_names
        assert after.version == (1 if act is _create else 2)
        assert len(material.secrets) == (2 if act is _rotate else 1)
    assert len(crashed_at) >= 2, "at least two crashes"


def test_a_conflict_with_another_transaction_is_retried(
    tables: Tables, kept_in: Vault, room_line: Wire, sleeps: list[float]
) -> None:
    who = boss(tables)
    one = webhooks.create(tables.main, who.call(), kept_in, fields=WebhookFields(url=URL)).webhook
    room_line.before = first(2, lambda: conflict_in_transaction(5), "TransactWriteItems")
    _update(who, kept_in, one)
    assert len(sleeps) == 2
    room_line.before = first(99, lambda: conflict_in_transaction(5), "TransactWriteItems")
    with pytest.raises(Unavailable):
        _rotate(who, kept_in, one)
    room_line.clear()
    check_standing(tables, now=who.now)


def test_a_change_that_always_meets_another_one_is_unavailable(
    tables: Tables, kept_in: Vault, room_line: Wire
) -> None:
    who = boss(tables)
    one = webhooks.create(tables.main, who.call(), kept_in, fields=WebhookFields(url=URL)).webhook
    reasons = [{"Code": "ConditionalCheckFailed"}] + [{"Code": "None"}] * 3
    room_line.before = first(
        99,
        lambda: error("TransactionCanceledException", CancellationReasons=reasons),
        "TransactWriteItems",
    )
    with pytest.raises(Unavailable):
        webhooks.update(
            tables.main, who.call(), kept_in, one.id, fields=WebhookFields(active=False)
        )
    room_line.clear()
    assert webhooks.get(tables.main, who.account_id, one.id) == one
