"""The second reader of the table's stream: counts signals and deliveries as they change."""

from __future__ import annotations

from typing import Any

from gatehouse.core import clock, settings
from gatehouse.core.observe import logger
from gatehouse.dynamo import connection
from gatehouse.health_metrics import actions as health_metrics

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Count a batch of stream records.

    Raises if the table is unavailable or a record cannot be parsed; Lambda then passes the batch
    again, in halves. The mapping has a tumbling window for one reason: without it the event does
    not name the shard, and positions are stored by shard. The window's state, which must be
    returned, stays empty. Its last call, without records, does nothing.
    """
    del context
    records = event["Records"]
    if records:
        shard = _shard(event)
        written = health_metrics.count(TABLES.main, shard, records, now=clock.now())
        logger.info("counted", shard=shard, records=len(records), transactions=written)
    return {"state": {}}


def _shard(event: dict[str, Any]) -> str:
    """Return the shard's name; on the local engine, with one shard, the stream's label."""
    if settings.STREAM_SHARDS.text() == "one":
        return str(event["Records"][0]["eventSourceARN"].rpartition("/")[2])
    return str(event["shardId"])
