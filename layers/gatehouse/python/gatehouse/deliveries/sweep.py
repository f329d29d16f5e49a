"""Completes what a lost message, a crash or a long wait left unsent; unparks and recovers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gatehouse.aws.queue import Queue
from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.errors import GatehouseError
from gatehouse.deliveries import listing_store, messages, rules, store, sweep_rules
from gatehouse.deliveries.fan_out import fan_out
from gatehouse.deliveries.messages import DeliveryMessage, DeliveryQueues
from gatehouse.deliveries.model import (
    Delivery,
    DeliveryStatus,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict, Write
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks

_PAGE = 100
_MOST_PAGES = 5
_MOST_MARKERS = 25
_MOST_SIGNALS = 200
_MOST_OF_A_SHARD = 500

# How long after a webhook became active its parked deliveries may still be missing in the index.
_INDEX_LAG: Micros = 2 * MINUTE


@dataclass(frozen=True, slots=True)
class DeliverySweep:
    """What one sweep did.

    Deliveries sent again, deliveries parked as internal, signals fanned out, and deliveries that
    were unparked or replayed because of a marker.
    """

    sent: int = 0
    internal: int = 0
    signals: int = 0
    unparked: int = 0


def sweep(
    table: Table, queue: DeliveryQueues, *, embedding: Queue | None, now: Micros
) -> DeliverySweep:
    """Send overdue deliveries, fan out overdue signals, and do the work of the markers.

    An error in one part does not stop the others; the first error is raised at the end.
    """
    errors: list[GatehouseError] = []
    sent, internal = 0, 0
    with _collected(errors):
        sent, internal = _send_overdue(table, queue, now=now)
    unparked = 0
    with _collected(errors):
        unparked = _do_marked(table, queue, now=now)
    fanned_out = 0
    overdue: list[Signal] = []
    with _collected(errors):
        overdue = signals.list_not_fanned_out(table, before=now, limit=_MOST_SIGNALS)
    for signal in overdue:
        with _collected(errors):
            fan_out(table, queue, signal, embedding=embedding, now=now)
            fanned_out += 1
    if errors:
        raise errors[0]
    return DeliverySweep(sent, internal, fanned_out, unparked)


@contextmanager
def _collected(errors: list[GatehouseError]) -> Iterator[None]:
    try:
        yield
    except GatehouseError as error:
        errors.append(error)


def _send_overdue(table: Table, queue: DeliveryQueues, *, now: Micros) -> tuple[int, int]:
    due: list[Delivery] = []
    for shard in range(rules.SHARDS):
        ids = store.list_due(table, shard, now=now, limit=_MOST_OF_A_SHARD)
        due += [one for one in store.list_by_ids(table, ids) if _is_overdue(one, now)]
    if not due:
        return 0, 0
    visible = queue.depth().visible
    outgoing: list[DeliveryMessage] = []
    internal = 0
    for delivery in sweep_rules.choose_to_send(due, now, visible=visible):
        backlog = visible > 0 and not delivery.unsent
        after = sweep_rules.after_sweep(delivery, now, backlog=backlog)
        if not _write(table, store.replace_swept(table, after, seen=delivery)):
            continue
        if after.parked is ParkReason.INTERNAL:
            internal += 1
        else:
            outgoing.append(messages.for_attempt(after, now))
    queue.send(outgoing)
    return len(outgoing), internal


def _is_overdue(delivery: Delivery, now: Micros) -> bool:
    # The index is behind the table: the delivery may have been attempted, or claimed.
    is_due = delivery.due_at is not None and delivery.due_at <= now
    return delivery.is_open and is_due and delivery.lease_until < now


def _do_marked(table: Table, queue: DeliveryQueues, *, now: Micros) -> int:
    total = 0
    for message, marked_at in store.list_markers(table, limit=_MOST_MARKERS):
        if isinstance(message, RecoverMessage):
            done = recover(table, queue, message, now=now)
        else:
            done = unpark(table, queue, message, now=now)
        total += done
        if not done and now - marked_at > _INDEX_LAG:
            _write(table, store.delete_marker(table, message, marked_at=marked_at))
    return total


def unpark(table: Table, queue: DeliveryQueues, message: UnparkMessage, *, now: Micros) -> int:
    """Send a webhook's parked deliveries, unless it is inactive again; return how many.

    Those of a deleted webhook are sent too: their next attempt makes them dead letters. After a few
    hundred, another message continues.
    """
    total = 0
    above = message.above
    for _ in range(_MOST_PAGES):
        webhook = webhooks.find(table, message.account_id, message.webhook_id)
        if webhook is not None and not webhook.active:
            return total
        page = listing_store.list_ids(
            table, message.webhook_id, rules.PARKED, low=above, newest_first=False, limit=_PAGE
        )
        parked = [one for one in store.list_by_ids(table, page) if one.is_open and one.parked]
        total += _send(table, queue, [(one, rules.unparked(one, now)) for one in parked], now)
        if len(page) < _PAGE:
            return total
        above = page[-1] + "~"
    queue.send([messages.for_webhook(replace(message, above=above))])
    return total


def recover(table: Table, queue: DeliveryQueues, message: RecoverMessage, *, now: Micros) -> int:
    """Replay a webhook's dead letters, except those given up since the request; return how many.

    After a few hundred, another message continues.
    """
    total = 0
    above = message.above
    for _ in range(_MOST_PAGES):
        if webhooks.find(table, message.account_id, message.webhook_id) is None:
            return total
        page = listing_store.list_ids(
            table,
            message.webhook_id,
            DeliveryStatus.DEAD_LETTER.value,
            low=above,
            newest_first=False,
            limit=_PAGE,
        )
        dead_letters = [
            one
            for one in store.list_by_ids(table, page)
            if rules.can_recover(one, asked_at=message.asked_at, now=now)
        ]
        replayed = [(one, rules.next_round(one, now)) for one in dead_letters]
        total += _send(table, queue, replayed, now)
        if len(page) < _PAGE:
            return total
        above = page[-1] + "~"
    queue.send([messages.for_webhook(replace(message, above=above))])
    return total


def _send(
    table: Table, queue: DeliveryQueues, changes: Sequence[tuple[Delivery, Delivery]], now: Micros
) -> int:
    """Write each delivery as changed, then send the messages of those that were written."""
    written = [
        after
        for before, after in changes
        if _write(table, store.replace(table, after, seen=before))
    ]
    queue.send([messages.for_attempt(one, now) for one in written])
    return len(written)


def _write(table: Table, write: Write) -> bool:
    """Do one write; False if another process changed the item first."""
    try:
        table.write(write)
    except (ConditionFailed, TransactionConflict):
        return False
    return True
