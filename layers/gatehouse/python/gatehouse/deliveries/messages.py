"""The queue of deliveries and its messages. The messages of one account form one SQS group."""

from __future__ import annotations

from functools import cache

from gatehouse.aws import clients
from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core import settings
from gatehouse.core.clock import Micros
from gatehouse.deliveries import message_rules
from gatehouse.deliveries.model import (
    AttemptMessage,
    Delivery,
    FanOutMessage,
    Message,
    WebhookMessage,
)
from gatehouse.signals.model import Signal


@cache
def queue() -> Queue:
    """Return the queue of deliveries to attempt."""
    return Queue(settings.DELIVERY_QUEUE.text(), clients.sqs())


def read(body: str) -> Message:
    """Parse a message's body. Raises ValueError or KeyError: only we write messages."""
    return message_rules.read(body)


def for_attempt(delivery: Delivery, now: Micros) -> Outgoing:
    """Return the message for a delivery's next attempt, delayed until it is due."""
    message = AttemptMessage(
        delivery.id, delivery.next_attempt, delivery.account_id, delivery.webhook_id
    )
    return Outgoing(
        message_rules.write(message), delivery.account_id, message_rules.delay(delivery, now)
    )


def for_webhook(message: WebhookMessage) -> Outgoing:
    """Return the message about a webhook's parked deliveries or dead letters."""
    return Outgoing(message_rules.write(message), message.account_id)


def for_fan_out(signal: Signal) -> Outgoing:
    """Return the message that asks a worker to fan out a signal."""
    message = FanOutMessage(signal.account_id, signal.id)
    return Outgoing(message_rules.write(message), message.account_id)
