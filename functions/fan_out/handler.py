"""The first reader of the table's stream: creates the deliveries of each new signal."""

from __future__ import annotations

from functools import cache
from typing import Any

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages
from gatehouse.deliveries.fan_out import fan_out_records
from gatehouse.dynamo import connection
from gatehouse.signals import actions as signals

TABLES = connection.tables()
QUEUES = messages.queues()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Fan out the signals in a batch of stream records, side by side.

    A worker repeats what fails, so that the shard never waits. Only if the queue is unavailable too
    a record is returned as failed: Lambda passes it and those after it again. After five times it
    moves to the on-failure queue; the sweeper then fans the signal out.
    """
    del context
    numbers = {}
    batch = []
    for record in event["Records"]:
        image = record["dynamodb"].get("NewImage")
        if image is not None and "fanout" in image:
            signal = signals.from_image(image)
            batch.append(signal)
            numbers[signal.id] = record["dynamodb"]["SequenceNumber"]
    done = fan_out_records(TABLES.main, QUEUES, batch, embedding=_embedding(), now=clock.now())
    for signal in batch:
        line: dict[str, Any] = {"signal_id": signal.id, "account_id": signal.account_id}
        error = done.errors.get(signal.id)
        if error is None:
            logger.info("fanned_out", deliveries=done.deliveries[signal.id], **line)
        else:
            logger.error("fan_out_failed", exc_info=error, sent=signal.id not in done.left, **line)
    failed = [{"itemIdentifier": numbers[one.id]} for one in batch if one.id in done.left]
    return {"batchItemFailures": failed}


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, clients.sqs()) if url else None
