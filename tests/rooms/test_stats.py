"""Counters in the table: each record counts once despite crashes, and one read returns all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.table import Tables
from gatehouse.health_metrics import actions as stats
from gatehouse.health_metrics.model import TOTALS
from support.aws.faults import (
    Killed,
    Wire,
    conflict_in_transaction,
    die_at,
    error,
    first,
    no_answer,
)
from support.aws.stream_records import Stream, delivery, signal

NOW = 29_920_890 * MINUTE + 17 * SECOND
SHARD = "shardId-00000001795252000000-0a1b2c3d"
MANY = 40  # accounts with three counter items each: more than fit in one transaction


def _busy(accounts: int = 3) -> Stream:
    """Return records of three signals, one acknowledged, and four deliveries per account."""
    stream = Stream()
    for number in range(accounts):
        account = f"account-{number}"
        for name in ("s1", "s2"):
            stream.put(signal(account, name, at=NOW - number * MINUTE))
        stream.put(signal(account, "old", at=NOW - DAY))
        stream.put(signal(account, "p", at=NOW, type="ping"))
        stream.change(signal(account, "s1", at=NOW - number * MINUTE), task_status="acked")
        for state in ("pending", "retrying", "delivered", "dead_letter"):
            stream.put(delivery(account, f"{account}-{state}", state))
    return stream


def _check(tables: Tables, accounts: int = 3) -> None:
    for number in range(accounts):
        health = stats.read(tables.main, f"account-{number}", now=NOW)
        assert health.totals == {"pending": 2, "delivered": 1, "dead_letter": 1, "acked": 1}
        assert health.volume == 2


def test_an_account_without_traffic_has_zero_counts(tables: Tables) -> None:
    health = stats.read(tables.main, "nobody", now=NOW)

    assert health.totals == dict.fromkeys(TOTALS, 0)
    assert health.volume == 0
    assert 0 < health.latency_ms < 60_000
    assert health.latency_ms == round(health.latency_ms, 2)


def test_a_batch_is_counted_by_account_in_one_transaction(tables: Tables, room_line: Wire) -> None:
    room_line.clear()
    written = stats.count(tables.main, SHARD, _busy().records, now=NOW)

    assert written == 1
    assert room_line.calls == ["GetItem", "TransactWriteItems"]
    _check(tables)


def test_a_repeated_batch_writes_nothing(tables: Tables, room_line: Wire) -> None:
    records = _busy().records
    stats.count(tables.main, SHARD, records, now=NOW)
    room_line.clear()

    assert stats.count(tables.main, SHARD, records, now=NOW) == 0
    assert stats.count(tables.main, SHARD, records[3:9], now=NOW) == 0
    assert room_line.calls == ["GetItem"] * 2
    _check(tables)


def test_positions_of_shards_are_independent(tables: Tables) -> None:
    """Sequence numbers of different shards are not comparable."""
    late, early = Stream(first=10**22), Stream(first=10)
    late.put(signal("account-0", "a", at=NOW))
    early.put(signal("account-0", "b", at=NOW))
    stats.count(tables.main, "shard-1", late.records, now=NOW)
    stats.count(tables.main, "shard-2", early.records, now=NOW)

    assert stats.read(tables.main, "account-0", now=NOW).volume == 2


def test_a_batch_over_many_accounts_takes_several_transactions(
    tables: Tables, room_line: Wire
) -> None:
    room_line.clear()

    assert stats.count(tables.main, SHARD, _busy(MANY).records, now=NOW) == 2
    assert room_line.calls == ["GetItem", "TransactWriteItems", "TransactWriteItems"]
    _check(tables, MANY)


def test_deleted_items_lower_the_totals_and_not_the_volume(tables: Tables) -> None:
    stream = _busy(1)
    for item in list(stream.items.values()):
        stream.remove(item)
    stats.count(tables.main, SHARD, stream.records, now=NOW)

    health = stats.read(tables.main, "account-0", now=NOW)
    assert health.totals == dict.fromkeys(TOTALS, 0)
    assert health.volume == 2


def test_the_volume_is_of_24_hours_to_the_minute(tables: Tables) -> None:
    """Also if the table has totals, older hours, and an hour of a clock that is ahead."""
    stream = Stream()
    stream.put(delivery("a", "d", "pending"))
    stream.put(signal("a", "ahead", at=NOW + 25 * 60 * MINUTE))
    for number in range(0, 26 * 60, 10):
        stream.put(signal("a", f"s{number}", at=NOW - number * MINUTE))
    for number in range(26, 60):
        stream.put(signal("a", f"old{number}", at=NOW - number * 60 * MINUTE))
    stats.count(tables.main, SHARD, stream.records, now=NOW)

    for later, left in ((0, 144), (9, 144), (10, 143), (719, 73), (1_439, 1), (1_440, 0)):
        health = stats.read(tables.main, "a", now=NOW + later * MINUTE)
        assert health.volume == left, later


def test_hours_and_positions_expire_and_totals_do_not(tables: Tables) -> None:
    stats.count(tables.main, SHARD, _busy(1).records, now=NOW)
    ttls = {(item["pk"], item["sk"]): item.get("ttl") for item in _items(tables)}

    (hour,) = {at for (_, sk), at in ttls.items() if sk == f"{NOW // (60 * MINUTE):08d}"}
    assert NOW // SECOND + 2 * 86_400 < hour <= NOW // SECOND + 3 * 86_400
    assert ttls[f"STATS#POSITION#{SHARD}", "POSITION"] == NOW // SECOND + 3 * 86_400
    (total,) = [
        at for (pk, sk), at in ttls.items() if (pk[:15], sk) == ("STATS#account-0", "TOTAL")
    ]
    assert total is None


def _items(tables: Tables) -> list[dict[str, Any]]:
    client = tables.main.client
    scanned = client.scan(TableName=tables.main.name)["Items"]
    return [
        {name: next(iter(value.values())) for name, value in item.items()}
        | {"ttl": int(item["ttl"]["N"]) if "ttl" in item else None}  # type: ignore[typeddict-item]
        for item in scanned
    ]


# ---- Crashes and conflicts ---------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_batch_repeated_after_a_crash_at_any_call_counts_once(
    tables: Tables, room_line: Wire, when: str
) -> None:
    records = _busy(MANY).records
    deaths = 0
    for number in range(1, 20):
        room_line.clear()
        setattr(room_line, when, die_at(number))
        try:
            stats.count(tables.main, f"{SHARD}-{number}", records, now=NOW)
        except Killed:
            deaths += 1
        else:
            break
        finally:
            room_line.clear()
        # Lambda passes the batch again, in two halves, and then once more.
        for batch in (records[:200], records[200:], records[100:300], records):
            stats.count(tables.main, f"{SHARD}-{number}", batch, now=NOW)
    assert deaths == 3  # one read, two transactions
    for number in range(MANY):
        health = stats.read(tables.main, f"account-{number}", now=NOW)
        # Each round, including the one without a crash, counted the same stream once.
        assert health.volume == 2 * (deaths + 1)
        assert health.totals["pending"] == 2 * (deaths + 1)


@pytest.mark.parametrize("begun", [0, 5])
def test_two_concurrent_readers_of_a_batch_count_it_once(
    tables: Tables, room_line: Wire, begun: int
) -> None:
    """An invocation that timed out may still write when the batch is passed again."""
    records = _busy().records
    stats.count(tables.main, SHARD, records[:begun], now=NOW)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            stats.count(tables.main, SHARD, records[:15], now=NOW)

    room_line.before = between
    stats.count(tables.main, SHARD, records, now=NOW)
    _check(tables)


FAULTS: dict[str, Callable[[], Any]] = {
    "conflict": lambda: conflict_in_transaction(4),
    "conflict alone": lambda: error("TransactionConflictException"),
    "throttled": lambda: error("ThrottlingException"),
    "unreachable": no_answer,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_busy_or_unavailable_table_is_retried(
    tables: Tables, room_line: Wire, sleeps: list[float], fault: str
) -> None:
    room_line.before = first(7, FAULTS[fault], "TransactWriteItems")
    stats.count(tables.main, SHARD, _busy().records, now=NOW)

    assert len(sleeps) == 7
    _check(tables)


def test_a_table_that_stays_unavailable_raises_and_the_batch_counts_later(
    tables: Tables, room_line: Wire, sleeps: list[float]
) -> None:
    records = _busy().records
    room_line.before = first(8, FAULTS["throttled"], "GetItem")
    with pytest.raises(Unavailable):
        stats.count(tables.main, SHARD, records, now=NOW)
    assert sum(sleeps) < 20, "longer than the function's timeout allows"
    room_line.clear()
    stats.count(tables.main, SHARD, records, now=NOW)
    _check(tables)
