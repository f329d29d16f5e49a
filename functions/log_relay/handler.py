"""The relay of live logs: lines that CloudWatch pushes, and tasks of the queue, into sockets."""

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
from gatehouse.logs.relay import Relay, Sockets, push, pushed_of, read, work

TABLES = connection.tables()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take a push of CloudWatch Logs, or a batch of tasks of which those that failed come back.

    A push that fails raises, and Lambda tries it twice more.
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
    pushed = pushed_of(data)
    if pushed is None:
        return {"viewers": 0}
    viewers = push(relay, pushed)
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
    about = {
        "message_id": record["messageId"],
        "received": int(record["attributes"]["ApproximateReceiveCount"]),
    }
    try:
        task = read(record["body"])
        lines = work(relay, task)
    except (GatehouseError, control_plane.ControlPlaneError):
        logger.exception("relay_unavailable", **about)
        return False
    except Exception:  # noqa: BLE001 - a bug in one must not repeat the others
        logger.exception("relay_bug", **about)
        return False
    logger.info(
        type(task).__name__.lower(),
        log_group=task.group,
        lines=lines,
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
        **about,
    )
    return True


@cache
def _relay(own_arn: str, own_group: str) -> Relay:
    return Relay(
        table=TABLES.main,
        queue=Queue(settings.RELAY_QUEUE.text(), clients.sqs()),
        sockets=Sockets(clients.sockets(settings.SOCKETS.text())),
        logs=clients.logs(),
        # Without an alias or version: filters outlive what was deployed when they were put.
        own_arn=":".join(own_arn.split(":")[:7]),
        own_group=own_group,
        now=clock.now,
    )
