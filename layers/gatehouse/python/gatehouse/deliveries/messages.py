"""The two queues of deliveries, the fast and the slow lane, and their messages.

The messages of one account form one SQS group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from gatehouse.aws import clients
from gatehouse.aws.queue import Depth, Outgoing, Queue
from gatehouse.core import settings
from gatehouse.core.clock import Micros
from gatehouse.deliveries import message_rules
from gatehouse.deliveries.model import (
    AttemptMessage,
    Delivery,
    DueMessage,
    FanOutMessage,
    Message,
    WebhookMessage,
)

_DUE_GROUP = "due"


@dataclass(frozen=True, slots=True)
class DeliveryMessage(Outgoing):
    """A message and its lane. Attempts of webhooks known as slow go through the slow one."""

    slow: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryQueues:
    """The queues of the two lanes."""

    fast: Queue
    slow: Queue

    def send(self, messages: Sequence[DeliveryMessage]) -> None:
        """Send all messages, each to its lane, or raise Unavailable when some could not be sent."""
        self.slow.send([one for one in messages if one.slow])
        self.fast.send([one for one in messages if not one.slow])

    def depth(self) -> Depth:
        """Read how many messages both lanes hold together. Raises Unavailable."""
        fast, slow = self.fast.depth(), self.slow.depth()
        return Depth(fast.visible + slow.visible, fast.in_flight + slow.in_flight)


@cache
def queues() -> DeliveryQueues:
    """Return the queues of deliveries to attempt."""
    return DeliveryQueues(
        Queue(settings.DELIVERY_QUEUE.text(), clients.sqs()),
        Queue(settings.SLOW_DELIVERY_QUEUE.text(), clients.sqs()),
    )


def read(body: str) -> Message:
    """Parse a message's body. Raises ValueError or KeyError: only we write messages."""
    return message_rules.read(body)


def for_attempt(delivery: Delivery, now: Micros, *, slow: bool = False) -> DeliveryMessage:
    """Return the message for a delivery's next attempt, delayed until it is due.

    `slow`: its webhook is marked as slow. False where that is not known: the worker forwards the
    message then.
    """
    message = AttemptMessage(
        delivery.id, delivery.next_attempt, delivery.account_id, delivery.webhook_id
    )
    return _message(message, message_rules.delay(delivery, now), slow=slow)


def forwarded(message: AttemptMessage) -> DeliveryMessage:
    """Return the message of the fast lane for the slow one."""
    return _message(message, slow=True)


def for_webhook(message: WebhookMessage) -> DeliveryMessage:
    """Return the message about a webhook's parked deliveries or dead letters."""
    return _message(message)


def for_fan_out(message: FanOutMessage) -> DeliveryMessage:
    """Return the message that asks a worker to fan out a signal."""
    return _message(message)


def for_due(message: DueMessage) -> DeliveryMessage:
    """Return the message about a shard of the due index. These form a group of their own."""
    return DeliveryMessage(message_rules.write(message), _DUE_GROUP)


def _message(
    message: AttemptMessage | FanOutMessage | WebhookMessage, delay: int = 0, *, slow: bool = False
) -> DeliveryMessage:
    return DeliveryMessage(message_rules.write(message), message.account_id, delay, slow)
