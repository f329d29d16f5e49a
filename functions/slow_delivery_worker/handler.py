"""The delivery worker of the slow lane: makes attempts that mostly wait for their receivers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from gatehouse.core import clock
from gatehouse.deliveries import messages
from gatehouse.deliveries.attempt import Worker
from gatehouse.deliveries.batch import BatchWorker
from gatehouse.dynamo import connection
from gatehouse.outbound.client import Sender
from gatehouse.secrets import actions as vaults
from gatehouse.webhooks.secret_cache import SecretCache

TABLES = connection.tables()
QUEUES = messages.queues()

_POOL = ThreadPoolExecutor(100)  # the mapping's batch size
_SENDER = Sender()  # keeps connections to receivers between invocations


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Process a batch. SQS delivers again only the messages that we failed to process."""
    worker = Worker(
        TABLES.main,
        QUEUES,
        _secrets(),
        post=_SENDER.send,
        now=clock.now,
        request_id=str(context.aws_request_id),
    )
    return BatchWorker(worker, _POOL).process(event["Records"])


@cache
def _secrets() -> SecretCache:
    return SecretCache(TABLES.main, vaults.vault(TABLES.main))
