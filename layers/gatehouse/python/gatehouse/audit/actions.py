"""Write changes together with their audit events. Every change of an account goes this way.

Only endings do not: they take effect first, see `endings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatehouse.audit import rules, store
from gatehouse.audit.model import Change, Entry, Event, Head, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.request import Answered, Guard
from gatehouse.core.retry import Backoff
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import (
    Item,
    Table,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)

# Other requests of the account move the head of its chain at the same time.
_CONFLICTS = Backoff(attempts=8, first=0.02, longest=0.64)

# How many events one call to `page` reads.
_MOST_READ = 1_000


class Refused(Exception):
    """Conditions failed and nothing was written.

    `failed` maps the name of each write whose condition failed to the item as it was, None if
    there was no item.
    """

    def __init__(self, failed: Mapping[str, Item | None]) -> None:
        super().__init__(f"conditions failed: {', '.join(failed)}")
        self.failed = dict(failed)


@dataclass(frozen=True, slots=True)
class Claim:
    """A request's Idempotency-Key, and the id of what the request made.

    `answer` is returned to a repeat; None if it contains a secret, so that a repeat gets 409.
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
    """Do the named writes, append their audit events and move the chain's head, or do nothing.

    Retries with full jitter while other requests move the head. Raises
    Refused if a condition of `writes` fails, IdempotencyReused, Replay or Unavailable.
    """
    named = dict(writes)
    if claim is not None:
        named["idempotency"] = idempotency.record(
            table, claim.guard, made=claim.made, answer=claim.answer
        )
    try:
        return append(
            table,
            account_id,
            named,
            entries=[Entry(change, origin, now) for change in changes],
            now=now,
            conflicts=_CONFLICTS,
        )
    except Refused as refused:
        if claim is not None and "idempotency" in refused.failed:
            record = refused.failed["idempotency"]
            raise idempotency.reused(claim.guard, record or {}) from refused
        raise


def append(
    table: Table,
    account_id: str,
    writes: Mapping[str, Write],
    *,
    entries: Sequence[Entry],
    now: Micros,
    conflicts: Backoff,
) -> list[Event]:
    """Do the named writes, append events and move the chain's head, or do nothing.

    Raises Refused if a condition of `writes` fails, Unavailable if all tries met a conflict.
    """
    names = list(writes)
    for _ in conflicts.tries():
        seen = store.read_head(table, account_id)
        head, events = seen, []
        for entry in entries:
            event, head = rules.link(
                head,
                entry.change,
                origin=entry.origin,
                now=entry.at,
                recorded_at=now if entry.follows else None,
            )
            events.append(event)
        chain = [store.append(table, account_id, event) for event in events]
        chain.append(store.move_head(table, account_id, seen=seen, to=head))
        try:
            transact(table.client, [*writes.values(), *chain])
        except TransactionCanceled as canceled:
            failed = {
                names[position]: item
                for position, item in canceled.failed.items()
                if position < len(names)
            }
            if failed:
                raise Refused(failed) from canceled
        except TransactionConflict:
            pass
        else:
            return events
    raise Unavailable


def page(
    table: Table,
    account_id: str,
    *,
    limit: int,
    before: str | None = None,
    action: str | None = None,
    actor: str | None = None,
) -> tuple[list[Event], str | None]:
    """List events, newest first, and the position of the next page (a bare id), if any.

    One call reads a bounded number of events, so a filtered page may have fewer than `limit`
    entries, even none, although there are more.
    """
    listed: list[Event] = []
    read = 0
    more = True
    while more and read < _MOST_READ:
        events, more = store.read_page(table, account_id, before=before, limit=limit + 1)
        for event in events:
            read += 1
            if action in {None, event["action"]} and actor in {None, event["actor"]}:
                if len(listed) == limit:
                    return listed, _bare_id(listed[-1])
                listed.append(event)
            before = _bare_id(event)
    return listed, before if more else None


def head(table: Table, account_id: str) -> Head:
    """Read the head of the account's chain."""
    return store.read_head(table, account_id)


def _bare_id(event: Event) -> str:
    return str(event["id"]).removeprefix("audit:")
