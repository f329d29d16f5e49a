"""Sends the deliveries that are due in a shard of the due index: their message was lost, or late.

Also those whose wait was longer than a message can be delayed.
"""

from __future__ import annotations

from dataclasses import replace

from gatehouse.core.clock import Micros
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages, store, sweep_rules
from gatehouse.deliveries.changes import write_all
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import Delivery, DueMessage, ParkReason
from gatehouse.dynamo.table import Table

_PAGE = 500


def send_due(table: Table, queue: DeliveryQueues, message: DueMessage, *, now: Micros) -> int:
    """Send a page of a shard's due deliveries; return how many. Another message asks for the next.

    A delivery that was sent five times in vain is parked as internal, and logged for the alarm.
    Raises Unavailable.
    """
    found = store.list_due(table, message.shard, low=message.above, now=now, limit=_PAGE)
    due = [one for one in store.list_by_ids(table, [id_ for id_, _ in found]) if _is_due(one, now)]
    sent = _send(table, queue, due, visible=message.visible, now=now)
    if len(found) == _PAGE:
        queue.send([messages.for_due(replace(message, above=found[-1][1] + 1))])
    return sent


def _is_due(delivery: Delivery, now: Micros) -> bool:
    # The index is behind the table: the delivery may have been attempted, or claimed.
    is_due = delivery.due_at is not None and delivery.due_at <= now
    return delivery.is_open and is_due and delivery.lease_until < now


def _send(
    table: Table, queue: DeliveryQueues, due: list[Delivery], *, visible: int, now: Micros
) -> int:
    chosen = sweep_rules.choose_to_send(due, now, visible=visible)
    swept = [
        sweep_rules.after_sweep(one, now, backlog=visible > 0 and not one.unsent) for one in chosen
    ]
    done = write_all(
        table,
        [
            store.replace_swept(table, after, seen=before)
            for before, after in zip(chosen, swept, strict=True)
        ],
    )
    written = [after for after, one in zip(swept, done.written, strict=True) if one]
    internal = [one for one in written if one.parked is ParkReason.INTERNAL]
    sent = [one for one in written if one.parked is None]
    queue.send([messages.for_attempt(one, now) for one in sent])
    if internal:
        logger.error("deliveries_lost", internal=len(internal), first=internal[0].id)
    done.check()
    return len(sent)
