"""Webhooks when the process dies before or after any call to the tables: never half changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.audit import sweep
from gatehouse.audit.model import Origin
from gatehouse.core.errors import IdempotencyReused, NotFound, Unavailable
from gatehouse.dynamo.table import Tables
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import health, rotation
from gatehouse.webhooks.model import Webhook, WebhookFields
from gatehouse.webhooks.secret_cache import SecretCache
from support.actors.members import unlimited_admin
from support.actors.visitor import Visitor
from support.aws.faults import Killed, Wire, conflict_in_transaction, die_at, error, first
from support.checks.inspection import State
from support.checks.invariants import check_invariants

pytestmark = pytest.mark.usefixtures("loopback_allowed")

URL = "http://127.0.0.1:9000/in"
MOST_CALLS = 20
WORKER = Origin(actor="system:delivery", request_id="delivery")

Act = Callable[[Visitor, Vault, Webhook], Any]


def _create(caller: Visitor, vault: Vault, _: Webhook) -> Any:
    fields = WebhookFields(url=URL, headers={"X-A": "1"})
    return webhooks.create(caller.tables.main, caller.call(token="c"), vault, fields=fields)


def _update(caller: Visitor, vault: Vault, one: Webhook) -> Any:
    fields = WebhookFields(active=False, headers={"X-B": "2"})
    return webhooks.update(caller.tables.main, caller.call(), vault, one.id, fields=fields).webhook


def _rotate(caller: Visitor, vault: Vault, one: Webhook) -> Any:
    return rotation.rotate_secret(
        caller.tables.main, caller.call(token="r"), vault, one.id, grace_seconds=60
    )


def _remove(caller: Visitor, _: Vault, one: Webhook) -> Any:
    return webhooks.remove(caller.tables.main, caller.call(), one.id)


def _disable(caller: Visitor, _: Vault, one: Webhook) -> Any:
    seen = webhooks.get(caller.tables.main, caller.account_id, one.id)
    if seen.active:
        health.disable(
            caller.tables.main, seen, reason="gone", also={}, origin=WORKER, now=caller.now
        )


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
    tables: Tables, vault: Vault, room_line: Wire, act: Act, when: str
) -> None:
    crashed_at = []
    for number in range(1, MOST_CALLS):
        caller = unlimited_admin(tables)
        fields = WebhookFields(url=URL, headers={"X-A": "1"})
        one = webhooks.create(tables.main, caller.call(), vault, fields=fields)
        before = State(tables).main
        if not _crashed(room_line, when, number, lambda w=caller, o=one: act(w, vault, o.webhook)):
            break
        crashed_at.append(number)
        changed = check_invariants(tables, now=caller.now).main != before
        assert act is _remove or not (changed and when == "before")
        if changed and act in ONCE:
            with pytest.raises(ONCE[act]):
                act(caller, vault, one.webhook)
        else:
            act(caller, vault, one.webhook)
        sweep.sweep(tables.main, now=caller.now)
        assert check_invariants(tables, now=caller.now).endings(caller.account_id) == []
        after = webhooks.find(tables.main, caller.account_id, one.webhook.id)
        if after is None:
            assert act is _remove
            continue
        material = SecretCache(tables.main, vault).find_material(after, now=caller.now)
        assert material is not None
        assert one.secret in material.secrets
        assert tuple(material.headers) == after.header_names
        assert after.version == (1 if act is _create else 2)
        assert len(material.secrets) == (2 if act is _rotate else 1)
    assert len(crashed_at) >= 2, "at least two crashes"


def test_a_conflict_with_another_transaction_is_retried(
    tables: Tables, vault: Vault, room_line: Wire, sleeps: list[float]
) -> None:
    caller = unlimited_admin(tables)
    one = webhooks.create(tables.main, caller.call(), vault, fields=WebhookFields(url=URL)).webhook
    room_line.before = first(2, lambda: conflict_in_transaction(5), "TransactWriteItems")
    _update(caller, vault, one)
    assert len(sleeps) == 2
    room_line.before = first(99, lambda: conflict_in_transaction(5), "TransactWriteItems")
    with pytest.raises(Unavailable):
        _rotate(caller, vault, one)
    room_line.clear()
    check_invariants(tables, now=caller.now)


def test_a_change_that_always_meets_another_one_is_unavailable(
    tables: Tables, vault: Vault, room_line: Wire
) -> None:
    caller = unlimited_admin(tables)
    one = webhooks.create(tables.main, caller.call(), vault, fields=WebhookFields(url=URL)).webhook
    reasons = [{"Code": "ConditionalCheckFailed"}] + [{"Code": "None"}] * 3
    room_line.before = first(
        99,
        lambda: error("TransactionCanceledException", CancellationReasons=reasons),
        "TransactWriteItems",
    )
    with pytest.raises(Unavailable):
        webhooks.update(
            tables.main, caller.call(), vault, one.id, fields=WebhookFields(active=False)
        )
    room_line.clear()
    assert webhooks.get(tables.main, caller.account_id, one.id) == one
