"""Endings: they take effect first, and their audit events follow.

The head of a chain is written by everybody's changes: a caller who writes in a loop could delay
the revocation of its own key. An ending therefore needs no head: one transaction writes the state
that ends the thing, and a marker. A second one appends the events and removes the marker: at once,
or by the sweeper after a crash or while the chain is busy.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gatehouse.audit import actions, ending_store
from gatehouse.audit.model import Change, Ending, Origin
from gatehouse.core import ids
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.observe import logger
from gatehouse.core.retry import Backoff
from gatehouse.dynamo import counters
from gatehouse.dynamo.table import (
    Table,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)

NO_COUNTS: Mapping[str, int] = MappingProxyType({})

# Only a change of the very thing that ends can be in the way of the first transaction.
_TAKE_EFFECT = Backoff(attempts=12, first=0.01, longest=0.08)
# The request waits for this, so it gives up early: the sweeper has more time.
_AT_ONCE = Backoff(attempts=3, first=0.02, longest=0.05)


def end(
    table: Table,
    account_id: str,
    *,
    writes: Mapping[str, Write],
    changes: Sequence[Change],
    counts: Mapping[str, int] = NO_COUNTS,
    origin: Origin,
    now: Micros,
) -> None:
    """Do the named writes, which end something, and record them now or soon.

    `counts` maps the partition key of a counter to how many of its things end; it follows with
    the events. Raises Refused if a condition of `writes` fails, and Unavailable if nothing
    was done.
    """
    ending = Ending(ids.new(now), account_id, now, tuple(changes), origin, counts)
    _take_effect(table, ending, writes)
    # While the chain is busy, or for a caller beyond the limit, the sweeper writes the events.
    with contextlib.suppress(Unavailable):
        if actions.is_within_limit(table, account_id, origin, now=now):
            record(table, [ending], now=now, conflicts=_AT_ONCE)


def still_counted(table: Table, account_id: str, counter: str) -> int:
    """Return how many ended things an account's counter, named by its key, still includes."""
    waiting = ending_store.read_all(table, account_id)
    return sum(ending.counts.get(counter, 0) for ending in waiting)


def _take_effect(table: Table, ending: Ending, writes: Mapping[str, Write]) -> None:
    names = list(writes)
    every = [*writes.values(), ending_store.put(table, ending)]
    conflict: Exception | None = None
    for _ in _TAKE_EFFECT.tries():
        try:
            ending_store.announce(table, ending.account_id, now=ending.at)
            transact(table.client, every)
        except TransactionCanceled as canceled:
            if canceled.failed:
                failed = {names[position]: item for position, item in canceled.failed.items()}
                raise actions.Refused(failed) from canceled
            conflict = canceled
        except TransactionConflict as conflicting:
            conflict = conflicting
        else:
            return
    raise Unavailable from conflict


def record(
    table: Table,
    endings: Sequence[Ending],
    *,
    now: Micros,
    conflicts: Backoff,
    without: frozenset[str] = frozenset(),
) -> None:
    """Append the events of one chain's endings, decrease the counters and delete the markers.

    Does nothing for an ending that somebody else records. `without` are counters to leave out.
    Raises Unavailable.
    """
    markers = {ending.id: ending_store.delete(table, ending) for ending in endings}
    counts: Counter[str] = Counter()
    for ending in endings:
        counts.update(ending.counts)
    counted = {pk: by for pk, by in counts.items() if pk not in without}
    writes = markers | {pk: counters.take(table, pk, by=by) for pk, by in counted.items()}
    entries = [entry for ending in endings for entry in ending.entries]
    try:
        actions.append(
            table,
            endings[0].account_id,
            writes,
            entries=entries,
            now=now,
            conflicts=conflicts,
        )
    except actions.Refused as refused:
        missing = refused.failed.keys() & counted.keys()
        for counter in missing:
            # A defect; but the event of what ended must not wait for it.
            logger.error("counter_missing", counter=counter)
        left = [ending for ending in endings if ending.id not in refused.failed]
        if left:
            record(table, left, now=now, conflicts=conflicts, without=without | missing)
