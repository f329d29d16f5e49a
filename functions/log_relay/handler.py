"""The relay of live logs: sends lines from CloudWatch to the viewers' sockets."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from gatehouse.aws import clients, control_plane
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import flush, logger, measure
from gatehouse.dynamo import connection
from gatehouse.logs import relay as relays
from gatehouse.logs.broadcast import Relay, make_relay

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a push of CloudWatch Logs, or a batch of tasks; return the tasks that failed.

    A push that fails raises an exception, and Lambda retries it twice.
    """
    relay = _relay(str(context.invoked_function_arn), str(context.log_group_name))
    if "awslogs" in event:
        return _push(relay, event["awslogs"]["data"])
    failed = [
        {"itemIdentifier": record["messageId"]}
        for record in event["Records"]
        if not _work(relay, record)
    ]
    return {"batchItemFailures": failed}


def _push(relay: Relay, data: str) -> dict[str, Any]:
    started = time.perf_counter()
    pushed = relays.parse_push(data)
    if pushed is None:
        return {"viewers": 0}
    viewers = relays.push(relay, pushed)
    if viewers:
        newest = max(line.at for line in pushed.lines)
        measure("LogLineAge", [max(0, relay.millis() - newest)], unit="Milliseconds")
        flush()
    logger.info(
        "pushed",
        log_group=pushed.group,
        lines=len(pushed.lines),
        viewers=viewers,
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
    )
    return {"viewers": viewers}


def _work(relay: Relay, record: dict[str, Any]) -> bool:
    started = time.perf_counter()
    ids = {
        "message_id": record["messageId"],
        "received": int(record["attributes"]["ApproximateReceiveCount"]),
    }
    try:
        task = relays.parse_task(record["body"])
        lines = relays.work(relay, task)
    except (GatehouseError, control_plane.ControlPlaneError):
        logger.exception("relay_unavailable", **ids)
        return False
    except Exception:  # noqa: BLE001 - a bug in one task must not repeat the others
        logger.exception("relay_bug", **ids)
        return False
    logger.info(
        type(task).__name__.lower(),
        log_group=task.group,
        lines=lines,
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
        **ids,
    )
    return True


@cache
def _relay(own_arn: str, own_group: str) -> Relay:
    return make_relay(
        TABLES.main,
        Queue(settings.RELAY_QUEUE.text(), clients.sqs()),
        sockets=clients.sockets(settings.SOCKETS.text()),
        logs=clients.logs(),
        # Without alias or version: a filter must call the code that is deployed now.
        own_arn=":".join(own_arn.split(":")[:7]),
        own_group=own_group,
        now=clock.now,
    )
