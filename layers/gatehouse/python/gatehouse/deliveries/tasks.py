"""The messages that ask a worker for something else than an attempt."""

from __future__ import annotations

from gatehouse.aws.queue import Queue
from gatehouse.core.clock import Micros
from gatehouse.deliveries import due, recovery
from gatehouse.deliveries.fan_out import fan_out_stored
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import (
    AttemptMessage,
    DueMessage,
    FanOutMessage,
    Message,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.dynamo.table import Table


def do_task(
    table: Table, queue: DeliveryQueues, message: Message, *, embedding: Queue | None, now: Micros
) -> int:
    """Do what a message asks for; return how many deliveries were sent. May be repeated.

    `embedding`: the queue of the owner's own worker. Raises Unavailable.
    """
    match message:
        case FanOutMessage():
            return fan_out_stored(table, queue, message, embedding=embedding, now=now)
        case RecoverMessage():
            return recovery.recover(table, queue, message, now=now)
        case UnparkMessage():
            return recovery.unpark(table, queue, message, now=now)
        case DueMessage():
            return due.send_due(table, queue, message, now=now)
        case AttemptMessage():
            raise ValueError("an attempt is no task")
