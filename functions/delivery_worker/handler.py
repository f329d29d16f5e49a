"""The worker of deliveries: takes messages in batches and makes their attempts side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from gatehouse.core import clock
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import flush, logger, measure
from gatehouse.deliveries import messages, sweep
from gatehouse.deliveries.attempt import Bench, Report, work
from gatehouse.deliveries.model import Go, Recover
from gatehouse.dynamo import connection
from gatehouse.outbound import client as outbound
from gatehouse.secrets import actions as vaults
from gatehouse.webhooks.secret_cache import Opened

TABLES = connection.tables()
QUEUE = messages.queue()

# An outcome's metric. What was dropped was somebody else's, and is counted there.
OUTCOMES = {
    "delivered": "Delivered",
    "retrying": "Retried",
    "dead_letter": "DeadLettered",
    "parked": "Parked",
    "dropped": "Dropped",
}
_BATCH = 10
_POOL = ThreadPoolExecutor(_BATCH)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do a batch. What the receivers do is recorded; the messages that we failed come back."""
    bench = Bench(
        TABLES.main,
        QUEUE,
        _opened(),
        post=outbound.send,
        now=clock.now,
        request_id=str(context.aws_request_id),
    )
    done = list(_POOL.map(partial(_one, bench), event["Records"]))
    _measure([report for report in done if isinstance(report, Report)])
    failed = [
        {"itemIdentifier": record["messageId"]}
        for record, result in zip(event["Records"], done, strict=True)
        if result is None
    ]
    return {"batchItemFailures": failed}


def _one(bench: Bench, record: dict[str, Any]) -> Report | int | None:
    """Do one message: what became of the attempt, or how many others it sent on.

    None: it shall come back. After five times it goes to the technical dead-letter queue.
    """
    about = {
        "message_id": record["messageId"],
        "received": int(record["attributes"]["ApproximateReceiveCount"]),
    }
    try:
        message = messages.read(record["body"])
        if isinstance(message, Go):
            report = work(bench, message)
            _tell(message, report, about)
            return report
        if isinstance(message, Recover):
            sent = sweep.recover(bench.table, bench.queue, message, now=bench.now())
        else:
            sent = sweep.wake(bench.table, bench.queue, message, now=bench.now())
    except GatehouseError:
        logger.exception("delivery_unavailable", **about)
        return None
    except Exception:  # noqa: BLE001 - a bug in one must not repeat the attempts of the others
        logger.exception("delivery_bug", **about)
        return None
    logger.info("sent_on", webhook_id=message.webhook_id, deliveries=sent, **about)
    return sent


def _tell(message: Go, report: Report, about: dict[str, Any]) -> None:
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
    logger.info("attempt", **line, **about)


def _measure(reports: list[Report]) -> None:
    for outcome, name in OUTCOMES.items():
        count = sum(report.outcome == outcome for report in reports)
        if count:
            measure(name, [count], unit="Count")
    made = [report.attempt for report in reports if report.attempt is not None]
    measure("AttemptLatency", [one.duration_ms for one in made], unit="Milliseconds")
    arrived = [one.delivery for one in reports if one.outcome == "delivered" and one.delivery]
    ages = [((one.delivered_at or 0) - one.created_at) / 1_000 for one in arrived]
    measure("DeliveryAge", ages, unit="Milliseconds")
    flush()


@cache
def _opened() -> Opened:
    return Opened(TABLES.main, vaults.vault(TABLES.main))
