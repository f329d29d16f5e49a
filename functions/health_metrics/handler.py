"""An account's health metrics: `GET /admin/health-metrics`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import settings, uptime
from gatehouse.dynamo import connection
from gatehouse.health_metrics import actions as metrics
from gatehouse.policy.actions import require
from gatehouse.policy.model import MANAGE
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Answer, answer
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()

door = Door(ADMIN, title="Metrics")
handler = door.handler


class DeliveryStats(BaseModel):
    """Stored deliveries by state, and acknowledged signals."""

    pending: int = Field(description="Waiting for an attempt, a retry or their webhook.")
    delivered: int
    acked: int = Field(description="Signals, not deliveries.")
    dead_letter: int


class HealthMetrics(BaseModel):
    """The account's health metrics, counted from the table's stream, a few seconds behind."""

    db_latency_ms: float = Field(description="Of the consistent read for this response.")
    uptime_seconds: int = Field(description="Since this version was deployed.")
    delivery_stats: DeliveryStats
    dead_letter_count: int
    embedding_queue_depth: int = Field(description="0 if embedding_provider is none.")
    signal_volume_24h: int = Field(
        description="Signals that arrived in the last 24 hours, to the minute."
    )


@door.route(
    "GET", "/admin/health-metrics", needs=require(MANAGE), response_model_exclude_unset=True
)
async def health_metrics(call: Caller) -> Answer[HealthMetrics]:
    """Show the counts of the account's signals and deliveries."""
    counted = metrics.read(TABLES.main, call.caller.account_id, now=call.now)
    totals = DeliveryStats(**counted.totals)
    return answer(
        call,
        HealthMetrics(
            db_latency_ms=counted.latency_ms,
            uptime_seconds=uptime.seconds(call.now),
            delivery_stats=totals,
            dead_letter_count=totals.dead_letter,
            embedding_queue_depth=_embedding_queue_depth(),
            signal_volume_24h=counted.volume,
        ),
    )


def _embedding_queue_depth() -> int:
    url = settings.EMBEDDING_QUEUE.text()
    if not url:
        return 0
    depth = Queue(url, clients.sqs()).depth()
    return depth.visible + depth.in_flight
