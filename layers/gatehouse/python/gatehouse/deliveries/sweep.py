"""The sweeper's part of deliveries: asks workers for what a crash or a lost message left undone.

It sends messages and does none of the work, so a minute of it is short whatever is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.errors import GatehouseError
from gatehouse.deliveries import marker_store, messages, rules, store, sweep_rules
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import DueMessage, FanOutMessage
from gatehouse.dynamo import lanes
from gatehouse.dynamo.table import Table
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Mark

_MOST_MARKERS = 1_000
_MOST_SIGNALS = 1_000

# A worker that has received the message of a marker moves this on.
_MARKER_SENT_AGAIN: Micros = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class DeliverySweep:
    """What one sweep asked workers for.

    Shards whose due deliveries must be sent, markers of webhooks, and signals to fan out.
    """

    shards: int = 0
    markers: int = 0
    signals: int = 0


def sweep(table: Table, queue: DeliveryQueues, *, now: Micros) -> DeliverySweep:
    """Send messages for due deliveries, for markers, and for signals that were not fanned out.

    An error in one part does not stop the others; the first error is raised at the end.
    """
    errors: list[GatehouseError] = []
    shards: list[int] = []
    marks: list[Mark] = []
    asked = DeliverySweep()
    with _collected(errors):
        shards = _list_due_shards(table, now=now)
    with _collected(errors):
        marks = signals.list_not_fanned_out(table, before=now, limit=_MOST_SIGNALS)
    with _collected(errors):
        if shards or marks:
            asked = _send(queue, shards, marks, now=now)
    with _collected(errors):
        asked = replace(asked, markers=_send_marked(table, queue, now=now))
    if errors:
        raise errors[0]
    return asked


@contextmanager
def _collected(errors: list[GatehouseError]) -> Iterator[None]:
    try:
        yield
    except GatehouseError as error:
        errors.append(error)


def _list_due_shards(table: Table, *, now: Micros) -> list[int]:
    def is_due(shard: int) -> bool:
        return bool(store.list_due(table, shard, now=now, limit=1))

    shards = range(rules.SHARDS)
    return [shard for shard, due in zip(shards, lanes.each(is_due, shards), strict=True) if due]


def _send(
    queue: DeliveryQueues, shards: Sequence[int], marks: Sequence[Mark], *, now: Micros
) -> DeliverySweep:
    """Ask workers to send what is due in these shards, and to fan out signals."""
    visible = queue.depth().visible
    chosen = sweep_rules.choose_to_fan_out(marks, now, visible=visible)
    queue.send([messages.for_due(DueMessage(shard, visible)) for shard in shards])
    queue.send(
        [messages.for_fan_out(FanOutMessage(one.account_id, one.signal_id)) for one in chosen]
    )
    return DeliverySweep(shards=len(shards), signals=len(chosen))


def _send_marked(table: Table, queue: DeliveryQueues, *, now: Micros) -> int:
    """Ask for the work of the markers that no worker has asked to wait."""
    waiting = [one for one in marker_store.list_all(table) if one.send_at <= now]
    waiting = sorted(waiting, key=lambda one: one.send_at)[:_MOST_MARKERS]
    queue.send([messages.for_webhook(one.message) for one in waiting])
    until = now + _MARKER_SENT_AGAIN
    lanes.each(lambda one: marker_store.postpone(table, one.message, until=until), waiting)
    return len(waiting)
