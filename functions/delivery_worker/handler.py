"""The delivery worker of the fast lane: makes the attempts of a batch side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.deliveries import messages
from gatehouse.deliveries.attempt import Worker
from gatehouse.deliveries.batch import BatchWorker
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.dynamo import connection
from gatehouse.outbound.client import Sender
from gatehouse.secrets import actions as vaults
from gatehouse.webhooks.secret_cache import SecretCache

TABLES = connection.tables()
QUEUES = messages.queues()

_POOL = ThreadPoolExecutor(10)  # the mapping's batch size
_MEMORY = SlowMemory()
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
    return BatchWorker(worker, _POOL, _embedding(), _MEMORY).process(event["Records"])


@cache
def _secrets() -> SecretCache:
    return SecretCache(TABLES.main, vaults.vault(TABLES.main))


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, clients.sqs()) if url else None
