"""The messages of deliveries, as they go into the queue: a webhook's share one turn in it."""

from __future__ import annotations

from functools import cache

from gatehouse.aws import clients
from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core import settings
from gatehouse.core.clock import Micros
from gatehouse.deliveries import rules
from gatehouse.deliveries.model import Delivery, Go, Recover, Wake

read = rules.read


@cache
def queue() -> Queue:
    """Find the queue of deliveries to attempt."""
    return Queue(settings.DELIVERY_QUEUE.text(), clients.sqs())


def go(delivery: Delivery, now: Micros) -> Outgoing:
    """Write the message for a delivery's next attempt, held back until it is due."""
    body = rules.write(Go(delivery.id, delivery.next_attempt))
    return Outgoing(body, delivery.webhook_id, rules.delay(delivery, now))


def ask(message: Wake | Recover) -> Outgoing:
    """Write a message about a webhook."""
    return Outgoing(rules.write(message), message.webhook_id)
