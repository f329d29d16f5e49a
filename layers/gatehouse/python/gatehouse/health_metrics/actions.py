"""Count the table's stream, each record once, and tell an account how its traffic stands."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.table import Table, TransactionCanceled, TransactionConflict, transact
from gatehouse.health_metrics import rules, store
from gatehouse.health_metrics.model import Health
from gatehouse.health_metrics.rules import Record

# A batch that fails too often is given up, and its records are never counted: so it is worth
# waiting here for a table that does not answer. Seconds, doubled each time, full jitter.
_TRIES = 8
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0


def count(table: Table, shard: str, records: Sequence[Record], *, now: Micros) -> int:
    """Count a batch of one shard, in order; give the number of transactions that it took.

    Sums and position are written together, under the condition that the position is where it was
    seen: whatever of the batch was counted before, by a crash or beside us, is not counted again.
    Raises Unavailable, and then the same batch may come again.
    """
    written = 0
    for attempt in range(_TRIES):
        try:
            seen = store.position(table, shard)
            for portion in rules.portions(records, after=seen):
                transact(table.client, store.write(table, shard, portion, seen=seen, now=now))
                seen = portion.upto
                written += 1
        except (TransactionCanceled, TransactionConflict, Unavailable):
            _wait(attempt)
        else:
            return written
    raise Unavailable


def _wait(attempt: int) -> None:
    ceiling = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
    time.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter


def health(table: Table, account_id: str, *, now: Micros) -> Health:
    """Tell how an account's traffic stands, and how long the table took to say so."""
    began = time.perf_counter()
    counted, minutes = store.read(table, account_id)
    took = time.perf_counter() - began
    return Health(
        totals=rules.totals(counted),
        volume=rules.volume(minutes, now=now),
        latency_ms=round(took * 1_000, 2),
    )
