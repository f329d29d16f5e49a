"""The stream's second reader: counts signals and deliveries as they come, change and go."""

from __future__ import annotations

from typing import Any

from gatehouse.core import clock, settings
from gatehouse.core.observe import logger
from gatehouse.dynamo import connection
from gatehouse.health_metrics import actions as stats

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Count a batch of the table's stream.

    Raises where the table does not answer or a record cannot be read: the batch comes again, in
    halves. The mapping has a tumbling window for one reason: without it Lambda does not say which
    shard a batch is of, and positions are kept by shard. Nothing is kept in the window's state,
    which must be answered, and its last call, without records, does nothing.
    """
    del context
    records = event["Records"]
    if records:
        shard = _shard(event)
        written = stats.count(TABLES.main, shard, records, now=clock.now())
        logger.info("counted", shard=shard, records=len(records), transactions=written)
    return {"state": {}}


def _shard(event: dict[str, Any]) -> str:
    """Name the shard; on the local engine the whole stream is one, and is named by its label."""
    if settings.STREAM_SHARDS.text() == "one":
        return str(event["Records"][0]["eventSourceARN"].rpartition("/")[2])
    return str(event["shardId"])
