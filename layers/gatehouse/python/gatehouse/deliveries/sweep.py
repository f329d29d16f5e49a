"""The net under deliveries: what a lost message, a crash or a long wait left to be sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.errors import GatehouseError
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.fan_out import Audience, fan_out
from gatehouse.deliveries.messages import ask, go
from gatehouse.deliveries.model import Delivery, Parked, Recover, Status, Wake
from gatehouse.dynamo.table import Table, TransactionCanceled, TransactionConflict, Write, transact
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks

_PAGE = 100
_PAGES = 5
_MOST_MARKS = 25
_MOST_SIGNALS = 200
_MOST_OF_A_SHARD = 500

# For so long after a webhook woke, parked deliveries may still be missing from the index.
_INDEX_LAG: Micros = 2 * MINUTE


@dataclass(frozen=True, slots=True)
class Swept:
    """How many of each there were: sent again, given up on, signals fanned out, woken."""

    sent: int = 0
    internal: int = 0
    signals: int = 0
    woken: int = 0


def sweep(table: Table, queue: Queue, *, embedding: Queue | None, now: Micros) -> Swept:
    """Send what is overdue, fan out what the stream lost, wake what waits for nothing.

    What fails holds up none of the rest; the first error is raised in the end.
    """
    failed: list[GatehouseError] = []
    sent, internal = 0, 0
    with _noted(failed):
        sent, internal = _send_overdue(table, queue, now=now)
    woken = 0
    with _noted(failed):
        woken = _do_marked(table, queue, now=now)
    fanned = 0
    audience = Audience(table)
    left: list[Signal] = []
    with _noted(failed):
        left = signals.not_fanned_out(table, before=now, limit=_MOST_SIGNALS)
    for signal in left:
        with _noted(failed):
            fan_out(table, queue, signal, audience=audience, embedding=embedding, now=now)
            fanned += 1
    if failed:
        raise failed[0]
    return Swept(sent, internal, fanned, woken)


@contextmanager
def _noted(failed: list[GatehouseError]) -> Iterator[None]:
    try:
        yield
    except GatehouseError as error:
        failed.append(error)


def _send_overdue(table: Table, queue: Queue, *, now: Micros) -> tuple[int, int]:
    due: list[Delivery] = []
    for shard in range(rules.SHARDS):
        found = store.find_all(table, store.due(table, shard, now=now, limit=_MOST_OF_A_SHARD))
        due += [one for one in found if _is_overdue(one, now)]
    if not due:
        return 0, 0
    visible = queue.depth().visible
    messages: list[Outgoing] = []
    internal = 0
    for delivery in rules.to_sweep(due, now, visible=visible):
        after = rules.swept(delivery, now, backlog=visible > 0 and not delivery.unsent)
        if not _moved(table, store.move(table, after, seen=delivery)):
            continue
        if after.parked is Parked.INTERNAL:
            internal += 1
        else:
            messages.append(go(after, now))
    queue.send(messages)
    return len(messages), internal


def _is_overdue(delivery: Delivery, now: Micros) -> bool:
    # The index lags: what it names may have been attempted, or be in somebody's hands.
    waits = delivery.due_at is not None and delivery.due_at <= now
    return delivery.is_open and waits and delivery.lease_until < now


def _do_marked(table: Table, queue: Queue, *, now: Micros) -> int:
    done = 0
    for message, marked_at in store.marks(table, limit=_MOST_MARKS):
        if isinstance(message, Recover):
            found = recover(table, queue, message, now=now)
        else:
            found = wake(table, queue, message, now=now)
        done += found
        if not found and now - marked_at > _INDEX_LAG:
            _moved(table, store.unmark(table, message, marked_at=marked_at))
    return done


def wake(table: Table, queue: Queue, message: Wake, *, now: Micros) -> int:
    """Let a webhook's parked deliveries go on, unless it is paused again; gives how many.

    Those of a webhook that is gone go on too: their attempt ends them. What is more than a few
    hundred is left to a message of its own.
    """
    woken = 0
    above = message.above
    for _ in range(_PAGES):
        webhook = webhooks.find(table, message.account_id, message.webhook_id)
        if webhook is not None and not webhook.active:
            return woken
        page = store.listed(
            table, message.webhook_id, store.PARKED, low=above, newest_first=False, limit=_PAGE
        )
        found = [one for one in store.find_all(table, page) if one.is_open and one.parked]
        woken += _send(table, queue, [(one, rules.woken(one, now)) for one in found], now)
        if len(page) < _PAGE:
            return woken
        above = page[-1] + "~"
    queue.send([ask(replace(message, above=above))])
    return woken


def recover(table: Table, queue: Queue, message: Recover, *, now: Micros) -> int:
    """Replay a webhook's dead letters; those that died since it was asked stay; gives how many.

    What is more than a few hundred is left to a message of its own.
    """
    replayed = 0
    above = message.above
    for _ in range(_PAGES):
        if webhooks.find(table, message.account_id, message.webhook_id) is None:
            return replayed
        page = store.listed(
            table,
            message.webhook_id,
            Status.DEAD_LETTER.value,
            low=above,
            newest_first=False,
            limit=_PAGE,
        )
        found = [
            one
            for one in store.find_all(table, page)
            if rules.can_recover(one, asked_at=message.asked_at, now=now)
        ]
        replayed += _send(table, queue, [(one, rules.again(one, now)) for one in found], now)
        if len(page) < _PAGE:
            return replayed
        above = page[-1] + "~"
    queue.send([ask(replace(message, above=above))])
    return replayed


def _send(
    table: Table, queue: Queue, changes: Sequence[tuple[Delivery, Delivery]], now: Micros
) -> int:
    moved = [
        after
        for before, after in changes
        if _moved(table, store.replace(table, after, seen=before))
    ]
    queue.send([go(one, now) for one in moved])
    return len(moved)


def _moved(table: Table, write: Write) -> bool:
    """Do one write; False: somebody was faster."""
    try:
        transact(table.client, [write])
    except (TransactionCanceled, TransactionConflict):
        return False
    return True
