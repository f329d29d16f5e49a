"""Sends a webhook's parked deliveries, or its dead letters again, page by page.

A message asks for a page, and the next message for the next page. A pass begins where its marker
says and ends with a short page. The index of parked deliveries and dead letters is a moment behind
the table, so only a pass that begins some time after the marker was written, and sends nothing,
deletes the marker. The sweeper begins the next pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gatehouse.core.clock import MINUTE, Micros
from gatehouse.deliveries import (
    listing_store,
    marker_store,
    messages,
    partition_rules,
    rules,
    store,
)
from gatehouse.deliveries.changes import write_all
from gatehouse.deliveries.marker_store import Marker
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import (
    GRACE,
    Delivery,
    DeliveryStatus,
    RecoverMessage,
    UnparkMessage,
    WebhookMessage,
)
from gatehouse.dynamo.table import Table
from gatehouse.webhooks import actions as webhooks

_PAGE = 500

# How long after a marker was written its deliveries may still be missing in the index.
_INDEX_LAG: Micros = 2 * MINUTE
# A pass whose next message is this late was lost; the sweeper begins another.
_LATEST: Micros = 5 * MINUTE


def unpark(table: Table, queue: DeliveryQueues, message: UnparkMessage, *, now: Micros) -> int:
    """Send a page of a webhook's parked deliveries, unless it is inactive again; return how many.

    Those of a deleted webhook are sent too: their next attempt makes them dead letters.
    """
    marker = marker_store.postpone(table, message, until=now + _LATEST)
    if marker is None:
        return 0
    webhook = webhooks.find(table, message.account_id, message.webhook_id)
    page: list[str] = []
    if webhook is None or webhook.active:
        page = listing_store.list_ids(
            table,
            message.webhook_id,
            rules.PARKED,
            low=message.above,
            newest_first=False,
            limit=_PAGE,
        )
    parked = [one for one in store.list_by_ids(table, page) if one.is_open and one.parked]
    changes = [(one, rules.unparked(one, now)) for one in parked]
    slow = webhook is not None and webhook.slowness.slow
    sent = _send(table, queue, changes, slow=slow, now=now)
    _continue(table, queue, message, marker, page=page, sent=sent, now=now)
    return sent


def recover(table: Table, queue: DeliveryQueues, message: RecoverMessage, *, now: Micros) -> int:
    """Replay a page of a webhook's dead letters; return how many.

    Except those given up since the request, and those whose signal has expired.
    """
    marker = marker_store.postpone(table, message, until=now + _LATEST)
    if marker is None:
        return 0
    webhook = webhooks.find(table, message.account_id, message.webhook_id)
    page: list[str] = []
    if webhook is not None:
        page = listing_store.list_ids(
            table,
            message.webhook_id,
            DeliveryStatus.DEAD_LETTER.value,
            low=message.above,
            newest_first=False,
            limit=_PAGE,
        )
    changes = [
        (one, rules.next_round(one, now))
        for one in store.list_by_ids(table, page)
        if rules.can_recover(one, asked_at=message.asked_at, now=now)
    ]
    slow = webhook is not None and webhook.slowness.slow
    sent = _send(table, queue, changes, slow=slow, now=now)
    _continue(table, queue, message, marker, page=page, sent=sent, now=now)
    return sent


def _send(
    table: Table,
    queue: DeliveryQueues,
    changes: Sequence[tuple[Delivery, Delivery]],
    *,
    slow: bool,
    now: Micros,
) -> int:
    """Write each delivery as changed, then send the messages of those that were written."""
    writes = [store.replace(table, after, seen=before) for before, after in changes]
    done = write_all(table, writes)
    written = [after for (_, after), one in zip(changes, done.written, strict=True) if one]
    queue.send([messages.for_attempt(one, now, slow=slow) for one in written])
    done.check()
    return len(written)


def _continue(
    table: Table,
    queue: DeliveryQueues,
    message: WebhookMessage,
    marker: Marker,
    *,
    page: Sequence[str],
    sent: int,
    now: Micros,
) -> None:
    """Ask for the next page; after the last one delete the marker, or let another pass begin."""
    total = message.sent + sent
    if len(page) == _PAGE:
        following = replace(message, above=partition_rules.above(page[-1]), sent=total)
        queue.send([messages.for_webhook(following)])
    elif total or now - marker.marked_at <= _INDEX_LAG:
        marker_store.postpone(table, message, until=now + GRACE)
    else:
        marker_store.delete(table, marker)
