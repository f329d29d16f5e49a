"""Writes the events of endings that a crash or a busy chain left without.

Accounts take turns, in another order each time, and the first turn of each is short. So nobody's
endings wait for those of an account that keeps its chain busy or has very many.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gatehouse.audit import ending_store, endings
from gatehouse.audit.model import Chain, Ending
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.observe import logger
from gatehouse.core.retry import Backoff
from gatehouse.dynamo.table import Table

_FIRST_TURN = Backoff(attempts=3, first=0.02, longest=0.05)
_LATER_TURN = Backoff(attempts=16, first=0.02, longest=0.3)
# Seconds after which no turn begins: the sweeper has other duties in its minute.
_LONGEST = 20.0
# Markers that one turn reads.
_MOST_READ = 200

# The most that DynamoDB takes in a transaction. It also takes at most 4 MB: a page has at most 1 MB
# of markers, and a transaction has that twice, in the events and in the markers that it deletes.
_MOST_WRITES = 100


@dataclass(slots=True)
class _Turn:
    """What became of an account's turn. `more`: it has more endings than one turn reads."""

    recorded: int = 0
    more: bool = False
    failed: Exception | None = None


def sweep(table: Table, *, now: Micros) -> int:
    """Write the events of endings that have none yet. Returns how many endings that were.

    No error in one account stops the others, whatever it is; the last one is raised at the end.
    What is left when the time is over is for the next sweep.
    """
    until = time.monotonic() + _LONGEST
    entries = list(ending_store.read_waiting(table).items())
    random.shuffle(entries)
    turns = deque((account_id, at, _FIRST_TURN) for account_id, at in entries)
    recorded = 0
    failed: Exception | None = None
    while turns and time.monotonic() < until:
        account_id, announced_at, conflicts = turns.popleft()
        turn = _take_turn(table, account_id, announced_at, now=now, conflicts=conflicts)
        recorded += turn.recorded
        is_busy = isinstance(turn.failed, Unavailable) and conflicts is _FIRST_TURN
        if is_busy or (turn.more and turn.failed is None):
            turns.append((account_id, announced_at, _LATER_TURN))
        elif turn.failed is not None:
            logger.error("endings_left", account_id=account_id, exc_info=turn.failed)
            failed = turn.failed
    if turns:
        logger.error("endings_wait", accounts=len(turns))
        failed = failed or Unavailable()
    if failed is not None:
        raise failed
    return recorded


def _take_turn(
    table: Table, account_id: str, announced_at: Micros, *, now: Micros, conflicts: Backoff
) -> _Turn:
    """Record an account's oldest endings. Of two chains, one that fails does not stop the other."""
    turn = _Turn()
    try:
        waiting, turn.more = ending_store.read_oldest(table, account_id, limit=_MOST_READ)
        if not waiting:
            ending_store.forget(table, account_id, at=announced_at, now=now)
    except Exception as error:  # noqa: BLE001 - also a bug, a missing permission
        return _Turn(failed=error)
    for chain in Chain:
        mine = [ending for ending in waiting if ending.origin.chain is chain]
        try:
            for group in _groups(mine):
                _record(table, group, turn, now=now, conflicts=conflicts)
        except Exception as error:  # noqa: BLE001 - also a bug, a missing permission
            turn.failed = error
    return turn


def _record(
    table: Table, group: Sequence[Ending], turn: _Turn, *, now: Micros, conflicts: Backoff
) -> None:
    """Record a group in one transaction, or else each ending by itself.

    So an ending that cannot be recorded, whatever the defect, delays no other of its chain.
    Raises Unavailable while the chain is busy.
    """
    try:
        endings.record(table, group, now=now, conflicts=conflicts)
        turn.recorded += len(group)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - also a bug, a missing permission
        turn.failed = error
        if len(group) > 1:
            for one in group:
                _record(table, [one], turn, now=now, conflicts=conflicts)


def _groups(waiting: Sequence[Ending]) -> Iterator[list[Ending]]:
    """Divide endings of one chain into those that one transaction records, in their order."""
    group: list[Ending] = []
    for ending in waiting:
        if group and _writes([*group, ending]) > _MOST_WRITES:
            yield group
            group = []
        group.append(ending)
    if group:
        yield group


def _writes(group: Sequence[Ending]) -> int:
    counters = {counter for ending in group for counter in ending.counts}
    head = 1
    return sum(1 + len(ending.changes) for ending in group) + len(counters) + head
