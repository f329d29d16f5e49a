"""The stream's first reader: from each new signal to its deliveries."""

from __future__ import annotations

from functools import cache
from typing import Any

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages
from gatehouse.deliveries.fan_out import Audience, fan_out
from gatehouse.dynamo import connection
from gatehouse.signals import actions as signals

TABLES = connection.tables()
QUEUE = messages.queue()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Fan a batch of the stream's records out, in order.

    The first that fails is named, and the stream comes back with it and what follows. After five
    times it goes to the on-failure queue; the sweeper finds the signal all the same.
    """
    del context
    audience = Audience(TABLES.main)
    for record in event["Records"]:
        number = record["dynamodb"]["SequenceNumber"]
        image = record["dynamodb"].get("NewImage")
        if image is None or "fanout" not in image:
            continue
        signal = signals.from_image(image)
        try:
            made = fan_out(
                TABLES.main,
                QUEUE,
                signal,
                audience=audience,
                embedding=_embedding(),
                now=clock.now(),
            )
        except GatehouseError:
            logger.exception("fan_out_failed", signal_id=signal.id, account_id=signal.account_id)
            return {"batchItemFailures": [{"itemIdentifier": number}]}
        logger.info(
            "fanned_out", signal_id=signal.id, account_id=signal.account_id, deliveries=made
        )
    return {"batchItemFailures": []}


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, clients.sqs()) if url else None
