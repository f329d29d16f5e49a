"""Signals in the table: their items, the index of unfinished fan-outs, pings."""

from __future__ import annotations

import json
from dataclasses import replace

from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.dynamo import attributes
from gatehouse.dynamo.table import Tables, transact
from gatehouse.signals import actions as signals
from gatehouse.signals import store
from gatehouse.signals import writes as signal_writes
from gatehouse.signals.model import TaskStatus
from support.actors.emitter import emit, stored
from support.actors.visitor import visitor
from support.checks.inspection import items
from support.worlds.signal_values import ID, WHOLE, create


def test_a_stored_signal_is_read_unchanged(tables: Tables) -> None:
    bare = create()
    for signal in (
        bare,
        replace(WHOLE, parent_id=f"signal:{ID}", to_identity=f"identity:{ID}", to_role="r"),
        replace(bare, pending=False),
        replace(bare, origin_peer="peer:x", from_identity="agent-7"),
        replace(WHOLE, task_status=TaskStatus.ACKED, claimed_by="identity:two"),
    ):
        item = store._item(signal) | (  # noqa: SLF001
            {"claimed_by": signal.claimed_by} if signal.claimed_by else {}
        )
        assert store.from_item(item) == signal
        assert signals.from_image(attributes.marshal(item)) == signal
    store.insert(tables.main, bare)
    assert store.find(tables.main, "account", ID) == bare


def test_a_signal_is_in_the_due_index_until_its_fan_out_is_finished(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    (item,) = stored(tables)
    assert item["pk"] == f"SIGNAL#{caller.account_id}#{caller.now // DAY}"
    assert item["fanout"] == "pending"
    assert item["due_pk"] == f"FANOUT#{int(signal.id[-1], 16)}"
    assert item["due_at"] == signal.created_at + 2 * MINUTE
    assert item["ttl"] == signal.expires_at // SECOND == (caller.now + 30 * DAY) // SECOND
    due = signal.created_at + 2 * MINUTE
    assert signals.list_not_fanned_out(tables.main, before=due - 1, limit=10) == []
    assert signals.list_not_fanned_out(tables.main, before=due, limit=10) == [signal]
    for _ in range(2):
        signals.mark_fanned_out(tables.main, signal)
        (item,) = stored(tables)
        assert not {"fanout", "due_pk", "due_at"} & item.keys()
    assert signals.list_not_fanned_out(tables.main, before=due + DAY, limit=10) == []
    reread = signals.find(tables.main, caller.account_id, signal.id, now=caller.now)
    assert reread == replace(signal, pending=False)


def test_a_repeated_insert_of_the_same_signal_changes_nothing(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    store.insert(tables.main, signal)
    signals.mark_fanned_out(tables.main, signal)
    store.insert(tables.main, signal)
    (item,) = stored(tables)
    assert "fanout" not in item, "the repeat wrote nothing"


def test_marking_a_deleted_signal_as_fanned_out_writes_nothing(tables: Tables) -> None:
    signals.mark_fanned_out(tables.main, WHOLE)
    assert items(tables.main) == []


def test_overdue_signals_of_every_shard_are_listed_up_to_the_limit(tables: Tables) -> None:
    caller = visitor(tables)
    every = {emit(caller).id for _ in range(60)}
    shards = {item["due_pk"] for item in stored(tables)}
    assert len(shards) > 8
    later = caller.now + DAY
    assert {
        one.id for one in signals.list_not_fanned_out(tables.main, before=later, limit=100)
    } == every
    for limit in (1, 7, 59):
        overdue = signals.list_not_fanned_out(tables.main, before=later, limit=limit)
        assert len({one.id for one in overdue} & every) == limit


def test_each_shard_is_listed_first_at_some_minute(tables: Tables) -> None:
    caller = visitor(tables)
    every = {emit(caller).id for _ in range(40)}
    seen: set[str] = set()
    for minute in range(16):
        before = caller.now + 3 * MINUTE + minute * MINUTE
        overdue = signals.list_not_fanned_out(tables.main, before=before, limit=10)
        seen |= {one.id for one in overdue}
    assert seen == every


def test_a_ping_is_stored_without_fan_out(tables: Tables) -> None:
    caller = visitor(tables)
    ping = signals.ping(caller.account_id, now=caller.now)
    transact(tables.main.client, [signal_writes.create(tables.main, ping)])
    assert signals.find(tables.main, caller.account_id, ping.id, now=caller.now) == ping
    assert ping.expires_at == caller.now + 30 * DAY
    (item,) = stored(tables)
    assert not {"fanout", "due_pk", "due_at"} & item.keys()
    assert json.loads(signals.body(ping))["signal_type"] == "ping"
    assert signals.page(tables.main, caller.call(), type="ping", ring=None, limit=1, before=None)[
        0
    ] == [ping]
    assert signals.get(tables.main, caller.call(), ping.id) == ping
