"""No change without its record: the one way in which an account's things are written."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatehouse.audit import rules, store
from gatehouse.audit.model import Change, Event, Head, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.request import Answered, Guard
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import (
    Item,
    Table,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)

_TRIES = 8
_FIRST_WAIT = 0.02  # seconds, doubled each time, full jitter
_LONGEST_WAIT = 0.64

# How many events one filtered page looks through before it answers with a cursor.
_LOOKED_THROUGH = 1_000


class Refused(Exception):
    """Conditions failed and nothing was written. `failed`: name of the write → item that stood."""

    def __init__(self, failed: Mapping[str, Item | None]) -> None:
        super().__init__(", ".join(failed))
        self.failed = dict(failed)


@dataclass(frozen=True, slots=True)
class Claim:
    """An Idempotency-Key's guard and the id to name on a repeat.

    `answer` is what the repeat gets instead, where that holds no secret.
    """

    guard: Guard
    made: str
    answer: Answered | None = None


def commit(
    table: Table,
    account_id: str,
    *,
    writes: Mapping[str, Write],
    changes: Sequence[Change],
    origin: Origin,
    now: Micros,
    claim: Claim | None = None,
) -> list[Event]:
    """Do the named writes together with their audit events and the moved head, or nothing.

    Tried again with full jitter, eight times in all, while others move the head. Raises
    Refused when a condition of `writes` fails, IdempotencyReused, Replay, or Unavailable.
    """
    named = dict(writes)
    if claim is not None:
        named["idempotency"] = idempotency.record(
            table, claim.guard, made=claim.made, answer=claim.answer
        )
    names = list(named)
    for attempt in range(_TRIES):
        seen = store.read_head(table, account_id)
        head, events = seen, []
        for change in changes:
            event, head = rules.link(head, change, origin=origin, now=now)
            events.append(event)
        chain = [store.append(table, account_id, event) for event in events]
        chain.append(store.move_head(table, account_id, seen=seen, to=head))
        try:
            transact(table.client, [*named.values(), *chain])
        except TransactionCanceled as canceled:
            failed = {
                names[position]: item
                for position, item in canceled.failed.items()
                if position < len(names)
            }
            if claim is not None and "idempotency" in failed:
                record = failed["idempotency"]
                raise idempotency.reused(claim.guard, record or {}) from canceled
            if failed:
                raise Refused(failed) from canceled
        except TransactionConflict:
            pass
        else:
            return events
        _wait(attempt)
    raise Unavailable


def _wait(attempt: int) -> None:
    ceiling = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
    time.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter


def page(
    table: Table,
    account_id: str,
    *,
    limit: int,
    before: str | None = None,
    action: str | None = None,
    actor: str | None = None,
) -> tuple[list[Event], str | None]:
    """Read events newest first, and where to go on (a bare id), None at the end.

    A filter looks through a bounded number of events per call, so a page may hold fewer than
    `limit` and still have more behind it.
    """
    found: list[Event] = []
    looked = 0
    more = True
    while more and looked < _LOOKED_THROUGH:
        events, more = store.read_page(table, account_id, before=before, limit=limit + 1)
        for event in events:
            looked += 1
            if action in {None, event["action"]} and actor in {None, event["actor"]}:
                if len(found) == limit:
                    return found, _bare_id(found[-1])
                found.append(event)
            before = _bare_id(event)
    return found, before if more else None


def _bare_id(event: Event) -> str:
    return str(event["id"]).removeprefix("audit:")


def head(table: Table, account_id: str) -> Head:
    """Read the end of the account's chain."""
    return store.read_head(table, account_id)
