"""Signals in the table: their items, the marks of unfinished fan-outs, pings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from gatehouse.core import ids
from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.dynamo import attributes
from gatehouse.dynamo.table import Tables, transact
from gatehouse.signals import actions as signals
from gatehouse.signals import store
from gatehouse.signals import writes as signal_writes
from gatehouse.signals.model import Mark, TaskStatus
from support.actors.emitter import emit, marks, stored
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


def test_a_signal_has_a_mark_until_its_fan_out_is_finished(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    (item,) = written = stored(tables)
    assert item["pk"] == f"SIGNAL#{caller.account_id}#{int(signal.id[-1], 16)}"
    assert item["fanout"] == "wanted"
    assert item["ttl"] == signal.expires_at // SECOND == (caller.now + 30 * DAY) // SECOND
    assert [(one["account_id"], one["sk"]) for one in marks(tables)] == [
        (caller.account_id, signal.id)
    ]
    emitted = ids.moment_of(signal.id)
    due = emitted + 2 * MINUTE
    assert signals.list_not_fanned_out(tables.main, before=due, limit=10) == []
    assert signals.list_not_fanned_out(tables.main, before=due + 1_000, limit=10) == [
        Mark(caller.account_id, signal.id)
    ]
    assert signals.get(tables.main, caller.call(), signal.id) == signal
    for _ in range(2):
        signals.mark_fanned_out(tables.main, signal)
        assert marks(tables) == []
        assert stored(tables) == written, "the signal is not rewritten"
    assert signals.list_not_fanned_out(tables.main, before=due + DAY, limit=10) == []
    dispatched = replace(signal, pending=False)
    assert signals.get(tables.main, caller.call(), signal.id) == dispatched
    query: dict[str, Any] = {"type": None, "ring": None, "limit": 5, "before": None}
    assert signals.page(tables.main, caller.call(), **query) == ([dispatched], None)


def test_a_repeated_insert_of_the_same_signal_changes_nothing(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    before = items(tables.main)
    store.insert(tables.main, signal)
    assert items(tables.main) == before


def test_a_mark_without_a_signal_is_deleted_after_ten_minutes(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    transact(
        tables.main.client, [tables.main.delete({n: stored(tables)[0][n] for n in ("pk", "sk")})]
    )
    end = ids.moment_of(signal.id) + 10 * MINUTE
    for now, left in ((end - 1, 1), (end, 0)):
        assert (
            signals.find_not_fanned_out(tables.main, caller.account_id, signal.id, now=now) is None
        )
        assert len(marks(tables)) == left


def test_finishing_the_fan_out_of_a_deleted_signal_writes_nothing(tables: Tables) -> None:
    signals.mark_fanned_out(tables.main, WHOLE)
    assert items(tables.main) == []


def test_overdue_signals_of_every_shard_are_listed_up_to_the_limit(tables: Tables) -> None:
    caller = visitor(tables)
    every = {emit(caller).id for _ in range(60)}
    assert len({mark["pk"] for mark in marks(tables)}) > 8
    later = caller.now + DAY
    listed = signals.list_not_fanned_out(tables.main, before=later, limit=60 * 32)
    assert [one.signal_id for one in listed] == sorted(every)
    for limit in (1, 7):
        assert len(signals.list_not_fanned_out(tables.main, before=later, limit=limit)) == limit


def test_signals_of_one_shard_do_not_keep_others_from_being_listed(tables: Tables) -> None:
    caller = visitor(tables)
    last = emit(caller)
    [mark] = marks(tables)
    crowded = "FANOUT#1" if mark["pk"] != "FANOUT#1" else "FANOUT#2"
    for number in range(40):
        item = {"pk": crowded, "sk": ids.new(number), "account_id": caller.account_id}
        tables.main.insert(item)
    listed = signals.list_not_fanned_out(tables.main, before=caller.now + DAY, limit=64)
    assert len(listed) == 3, "two of the crowded shard"
    assert listed[-1].signal_id == last.id


def test_a_ping_is_stored_without_fan_out(tables: Tables) -> None:
    caller = visitor(tables)
    ping = signals.ping(caller.account_id, now=caller.now)
    transact(tables.main.client, list(signal_writes.create(tables.main, ping).values()))
    assert marks(tables) == []
    assert signals.find(tables.main, caller.account_id, ping.id, now=caller.now) == ping
    assert ping.expires_at == caller.now + 30 * DAY
    (item,) = stored(tables)
    assert "fanout" not in item
    assert json.loads(signals.body(ping))["signal_type"] == "ping"
    assert signals.page(tables.main, caller.call(), type="ping", ring=None, limit=1, before=None)[
        0
    ] == [ping]
    assert signals.get(tables.main, caller.call(), ping.id) == ping
