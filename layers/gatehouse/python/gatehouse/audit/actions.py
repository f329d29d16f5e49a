"""Write changes together with their audit events. Every change of an account goes this way.

Only endings do not: they take effect first, see `endings`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gatehouse.audit import rules, store, writes_store
from gatehouse.audit.model import MOST_WRITES, Chain, Change, Entry, Event, Head, Origin
from gatehouse.core.clock import MINUTE, Micros, ceil_seconds
from gatehouse.core.errors import RateLimited, Unavailable
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

# Other requests of the account move the head of its chain at the same time. The waits stay short:
# with longer and longer ones, whoever has waited longest loses against those who just began.
_CONFLICTS = Backoff(attempts=32, first=0.02, longest=0.08)

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
    Refused if a condition of `writes` fails, IdempotencyReused, Replay, RateLimited for an identity
    that is not an admin and makes too many changes, or Unavailable.
    """
    if not is_within_limit(table, account_id, origin, now=now):
        raise RateLimited(
            f"Members who are not admins make at most {MOST_WRITES} changes in a minute",
            retry_after=ceil_seconds(MINUTE - now % MINUTE),
        )
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


def is_within_limit(table: Table, account_id: str, origin: Origin, *, now: Micros) -> bool:
    """Count a request of an identity that is not an admin, once whatever it writes and retries.

    False if the identity made as many as it may in this minute.
    """
    if origin.bounded is None:
        return True
    if origin.counted.within is None:
        origin.counted.within = writes_store.count(
            table, account_id, origin.bounded, most=MOST_WRITES, now=now
        )
    return origin.counted.within


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

    All entries must be of one chain.
    Raises Refused if a condition of `writes` fails, Unavailable if all tries met a conflict.
    """
    names = list(writes)
    chain = entries[0].origin.chain
    conflict: Exception | None = None
    for _ in conflicts.tries():
        seen = store.read_head(table, account_id, chain)
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
        linked = [store.append(table, account_id, event, chain=chain) for event in events]
        linked.append(store.move_head(table, account_id, chain=chain, seen=seen, to=head))
        try:
            transact(table.client, [*writes.values(), *linked])
        except TransactionCanceled as canceled:
            failed = {
                names[position]: item
                for position, item in canceled.failed.items()
                if position < len(names)
            }
            if failed:
                raise Refused(failed) from canceled
            conflict = canceled
        except TransactionConflict as conflicting:
            conflict = conflicting
        else:
            return events
    raise Unavailable from conflict


def page(
    table: Table,
    account_id: str,
    *,
    limit: int,
    before: str | None = None,
    action: str | None = None,
    actor: str | None = None,
    chains: Sequence[Chain] = tuple(Chain),
) -> tuple[list[Event], str | None]:
    """List events of some chains as one list, newest first.

    Returns also the position of the next page (a bare id, which holds for all chains), if any.

    One call reads a bounded number of events, so a filtered page may have fewer than `limit`
    entries, even none, although there are more.
    """
    streams = [_newest_first(table, account_id, one, before=before, limit=limit) for one in chains]
    listed: list[Event] = []
    newest_first = heapq.merge(*streams, key=lambda event: event["id"], reverse=True)
    for read, event in enumerate(newest_first, start=1):
        if action in {None, event["action"]} and actor in {None, event["actor"]}:
            if len(listed) == limit:
                return listed, _bare_id(listed[-1])
            listed.append(event)
        if read == _MOST_READ:
            return listed, _bare_id(event)
    return listed, None


def head(table: Table, account_id: str, chain: Chain) -> Head:
    """Read the head of one of the account's chains."""
    return store.read_head(table, account_id, chain)


def _newest_first(
    table: Table, account_id: str, chain: Chain, *, before: str | None, limit: int
) -> Iterator[Event]:
    more = True
    while more:
        events, more = store.read_page(
            table, account_id, chain=chain, before=before, limit=limit + 1
        )
        yield from events
        if events:
            before = _bare_id(events[-1])


def _bare_id(event: Event) -> str:
    return str(event["id"]).removeprefix("audit:")
