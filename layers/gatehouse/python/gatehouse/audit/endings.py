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
from gatehouse.audit.model import Chain, Change, Ending, Origin
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
_SWEEPING = Backoff(attempts=16, first=0.02, longest=0.3)

_MOST_PER_SWEEP = 500
# Endings of one chain that one transaction records. Each has two writes and its events.
_MOST_TOGETHER = 20


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
    # While the chain is busy, the sweeper writes the events.
    with contextlib.suppress(Unavailable):
        _record(table, [ending], now=now, conflicts=_AT_ONCE)


def sweep(table: Table, *, now: Micros) -> int:
    """Write the events of endings that have none yet, oldest first. Returns how many there were.

    No error in one chain stops the others, whatever it is; the last one is raised at the end.
    """
    waiting = ending_store.read_oldest(table, limit=_MOST_PER_SWEEP)
    failed: Exception | None = None
    by_chain: dict[tuple[str, Chain], list[Ending]] = {}
    for ending in waiting:
        by_chain.setdefault((ending.account_id, ending.origin.chain), []).append(ending)
    for (account_id, chain), endings in by_chain.items():
        for start in range(0, len(endings), _MOST_TOGETHER):
            together = endings[start : start + _MOST_TOGETHER]
            try:
                _record(table, together, now=now, conflicts=_SWEEPING)
            except Exception as error:  # noqa: BLE001 - also a bug, a missing permission
                logger.exception("endings_left", account_id=account_id, chain=chain.value)
                failed = error
                break
    if failed is not None:
        raise failed
    return len(waiting)


def still_counted(table: Table, counter: str) -> int:
    """Return how many ended things a counter, named by its partition key, still includes."""
    return sum(ending.counts.get(counter, 0) for ending in ending_store.read_all(table))


def _take_effect(table: Table, ending: Ending, writes: Mapping[str, Write]) -> None:
    names = list(writes)
    every = [*writes.values(), ending_store.put(table, ending)]
    for _ in _TAKE_EFFECT.tries():
        try:
            transact(table.client, every)
        except TransactionCanceled as canceled:
            if canceled.failed:
                failed = {names[position]: item for position, item in canceled.failed.items()}
                raise actions.Refused(failed) from canceled
        except TransactionConflict:
            pass
        else:
            return
    raise Unavailable


def _record(table: Table, endings: Sequence[Ending], *, now: Micros, conflicts: Backoff) -> None:
    """Append the events of one chain's endings, decrease the counters and delete the markers.

    Does nothing for an ending that somebody else records. Raises Unavailable.
    """
    writes = {ending.id: ending_store.delete(table, ending) for ending in endings}
    counts: Counter[str] = Counter()
    for ending in endings:
        counts.update(ending.counts)
    writes |= {pk: counters.take(table, pk, by=ended) for pk, ended in counts.items()}
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
        left = [ending for ending in endings if ending.id not in refused.failed]
        if len(left) == len(endings):
            raise  # a counter that does not exist
        if left:
            _record(table, left, now=now, conflicts=conflicts)
