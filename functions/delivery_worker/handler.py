"""The delivery worker: receives messages in batches and makes their attempts concurrently."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import flush, logger, measure
from gatehouse.deliveries import messages, sweep
from gatehouse.deliveries.attempt import AttemptReport, Worker, make_attempt
from gatehouse.deliveries.fan_out import fan_out_stored
from gatehouse.deliveries.model import AttemptMessage, FanOutMessage, RecoverMessage
from gatehouse.dynamo import connection
from gatehouse.outbound import client as outbound
from gatehouse.secrets import actions as vaults
from gatehouse.webhooks.secret_cache import SecretCache

TABLES = connection.tables()
QUEUE = messages.queue()

# The metric of each outcome.
METRICS = {
    "delivered": "Delivered",
    "retrying": "Retried",
    "dead_letter": "DeadLettered",
    "parked": "Parked",
    "dropped": "Dropped",
}
_BATCH = 10
_POOL = ThreadPoolExecutor(_BATCH)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Process a batch. SQS delivers again only the messages that we failed to process."""
    worker = Worker(
        TABLES.main,
        QUEUE,
        _secrets(),
        post=outbound.send,
        now=clock.now,
        request_id=str(context.aws_request_id),
    )
    results = list(_POOL.map(partial(_process, worker), event["Records"]))
    _measure([result for result in results if isinstance(result, AttemptReport)])
    failed = [
        {"itemIdentifier": record["messageId"]}
        for record, result in zip(event["Records"], results, strict=True)
        if result is None
    ]
    return {"batchItemFailures": failed}


def _process(worker: Worker, record: dict[str, Any]) -> AttemptReport | int | None:
    """Process one message; return the attempt's report, or how many deliveries it sent.

    None: SQS must deliver the message again. After five times it moves to the technical dead-letter
    queue.
    """
    received = {
        "message_id": record["messageId"],
        "received": int(record["attributes"]["ApproximateReceiveCount"]),
    }
    try:
        message = messages.read(record["body"])
        if isinstance(message, AttemptMessage):
            report = make_attempt(worker, message)
            _log(message, report, received)
            return report
        if isinstance(message, FanOutMessage):
            sent = fan_out_stored(
                worker.table, worker.queue, message, embedding=_embedding(), now=worker.now()
            )
        elif isinstance(message, RecoverMessage):
            sent = sweep.recover(worker.table, worker.queue, message, now=worker.now())
        else:
            sent = sweep.unpark(worker.table, worker.queue, message, now=worker.now())
    except GatehouseError:
        logger.exception("delivery_unavailable", **received)
        return None
    except Exception:  # noqa: BLE001 - a bug in one must not repeat the attempts of the others
        logger.exception("delivery_bug", **received)
        return None
    about: dict[str, Any] = (
        {"signal_id": message.signal_id}
        if isinstance(message, FanOutMessage)
        else {"webhook_id": message.webhook_id}
    )
    logger.info("sent_on", deliveries=sent, **about, **received)
    return sent


def _log(message: AttemptMessage, report: AttemptReport, received: dict[str, Any]) -> None:
    line: dict[str, Any] = {
        "delivery_id": message.delivery_id,
        "attempt": message.attempt,
        "outcome": report.outcome,
    }
    if report.delivery is not None:
        line["webhook_id"] = report.delivery.webhook_id
        line["next_retry_at"] = report.delivery.next_retry_at
    if report.attempt is not None:
        line["status"] = report.attempt.status_code
        line["error"] = report.attempt.error
        line["duration_ms"] = report.attempt.duration_ms
    logger.info("attempt", **line, **received)


def _measure(reports: list[AttemptReport]) -> None:
    for outcome, name in METRICS.items():
        count = sum(report.outcome == outcome for report in reports)
        if count:
            measure(name, [count], unit="Count")
    attempts = [report.attempt for report in reports if report.attempt is not None]
    measure("AttemptLatency", [one.duration_ms for one in attempts], unit="Milliseconds")
    delivered = [one.delivery for one in reports if one.outcome == "delivered" and one.delivery]
    ages = [((one.delivered_at or 0) - one.created_at) / 1_000 for one in delivered]
    measure("DeliveryAge", ages, unit="Milliseconds")
    flush()


@cache
def _secrets() -> SecretCache:
    return SecretCache(TABLES.main, vaults.vault(TABLES.main))


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, clients.sqs()) if url else None
