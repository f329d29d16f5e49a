"""How an account's traffic stands: `GET /admin/health-metrics`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import settings, uptime
from gatehouse.dynamo import connection
from gatehouse.health_metrics import actions as stats
from gatehouse.policy.actions import require
from gatehouse.policy.model import MANAGE
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Answer, answer
from gatehouse.web.surfaces import ADMIN

TABLES = connection.tables()

door = Door(ADMIN, title="Metrics")
handler = door.handler


class DeliveryStats(BaseModel):
    """Deliveries that are stored, by state, and signals that were acknowledged."""

    pending: int = Field(description="Waiting for an attempt, a retry or their webhook.")
    delivered: int
    acked: int = Field(description="Signals, not deliveries.")
    dead_letter: int


class HealthMetrics(BaseModel):
    """How the caller's account stands, counted off the table's stream, seconds behind it."""

    db_latency_ms: float = Field(description="Of the consistent read behind this answer.")
    uptime_seconds: int = Field(description="Since this version was deployed.")
    delivery_stats: DeliveryStats
    dead_letter_count: int
    embedding_queue_depth: int = Field(description="0 where embedding_provider is none.")
    signal_volume_24h: int = Field(description="Of the last 24 hours, to the minute.")


@door.route(
    "GET", "/admin/health-metrics", needs=require(MANAGE), response_model_exclude_unset=True
)
async def health_metrics(call: Caller) -> Answer[HealthMetrics]:
    """Tell how the account's signals and deliveries stand."""
    health = stats.health(TABLES.main, call.caller.account_id, now=call.now)
    totals = DeliveryStats(**health.totals)
    return answer(
        call,
        HealthMetrics(
            db_latency_ms=health.latency_ms,
            uptime_seconds=uptime.seconds(call.now),
            delivery_stats=totals,
            dead_letter_count=totals.dead_letter,
            embedding_queue_depth=_embedding_queue_depth(),
            signal_volume_24h=health.volume,
        ),
    )


def _embedding_queue_depth() -> int:
    url = settings.EMBEDDING_QUEUE.text()
    if not url:
        return 0
    depth = Queue(url, clients.sqs()).depth()
    return depth.visible + depth.in_flight
