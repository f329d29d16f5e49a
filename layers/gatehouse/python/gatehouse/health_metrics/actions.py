"""Counts each record of the table's stream once, and reads an account's health metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.dynamo.table import Table, TransactionCanceled, TransactionConflict, transact
from gatehouse.health_metrics import rules, store
from gatehouse.health_metrics.model import HealthMetrics
from gatehouse.health_metrics.rules import Record

# The records of a batch that fails too often are never counted, so it is worth waiting here for a
# table that is unavailable.
_UNAVAILABLE = Backoff(8, first=0.1, longest=5.0)


def count(table: Table, shard: str, records: Sequence[Record], *, now: Micros) -> int:
    """Count a batch of one shard, in order; return the number of transactions.

    Sums and position are written together, on condition that the position is the one that was read.
    So a record is not counted again that was counted before a crash, or by another process. Raises
    Unavailable; then the same batch may be passed again.
    """
    written = 0
    failed: Exception | None = None
    for _ in _UNAVAILABLE.tries():
        try:
            seen = store.find_position(table, shard)
            for portion in rules.portions(records, after=seen):
                transact(table.client, store.write(table, shard, portion, seen=seen, now=now))
                seen = portion.upto
                written += 1
        except (TransactionCanceled, TransactionConflict, Unavailable) as error:
            failed = error
            continue
        else:
            return written
    raise Unavailable from failed


def read(table: Table, account_id: str, *, now: Micros) -> HealthMetrics:
    """Read an account's health metrics, and measure how long the table took."""
    started = time.perf_counter()
    counted, minutes = store.read(table, account_id)
    took = time.perf_counter() - started
    return HealthMetrics(
        totals=rules.totals(counted),
        volume=rules.volume(minutes, now=now),
        latency_ms=round(took * 1_000, 2),
    )
