"""The first reader of the table's stream: creates the deliveries of each new signal."""

from __future__ import annotations

from functools import cache
from typing import Any

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages
from gatehouse.deliveries.fan_out import WebhookCache, fan_out
from gatehouse.dynamo import connection
from gatehouse.signals import actions as signals

TABLES = connection.tables()
QUEUE = messages.queue()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Fan out the signals in a batch of stream records, in order.

    Stops at the first failure and returns its record; Lambda passes it and the following ones
    again. After five times it moves to the on-failure queue; the sweeper then fans the signal out.
    """
    del context
    webhook_cache = WebhookCache(TABLES.main)
    for record in event["Records"]:
        number = record["dynamodb"]["SequenceNumber"]
        image = record["dynamodb"].get("NewImage")
        if image is None or "fanout" not in image:
            continue
        signal = signals.from_image(image)
        try:
            count = fan_out(
                TABLES.main,
                QUEUE,
                signal,
                webhook_cache=webhook_cache,
                embedding=_embedding(),
                now=clock.now(),
            )
        except GatehouseError:
            logger.exception("fan_out_failed", signal_id=signal.id, account_id=signal.account_id)
            return {"batchItemFailures": [{"itemIdentifier": number}]}
        logger.info(
            "fanned_out", signal_id=signal.id, account_id=signal.account_id, deliveries=count
        )
    return {"batchItemFailures": []}


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, clients.sqs()) if url else None
