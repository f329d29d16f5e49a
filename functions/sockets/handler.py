"""Sockets for live logs: who may open one, and that one was closed."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

from gatehouse.aws import clients
from gatehouse.aws.control_plane import Cloud
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.errors import FieldRequired, GatehouseError, Internal, RateLimited, Unauthorized
from gatehouse.core.observe import logger
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo import connection
from gatehouse.logs import actions as logs
from gatehouse.policy.actions import managing

TABLES = connection.tables()
CLOUD = Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs)
NEEDS = managing("services:read")

Answer = dict[str, Any]


def handler(event: dict[str, Any], context: Any) -> Answer:
    """Answer API Gateway's events of a socket. What a viewer says is taken and not answered."""
    del context
    asked = event["requestContext"]
    if asked["eventType"] == "MESSAGE":
        return {"statusCode": 200}
    started = time.perf_counter()
    error: GatehouseError | None = None
    try:
        if asked["eventType"] == "CONNECT":
            _connect(event)
        else:
            logs.disconnect(TABLES.main, connection=asked["connectionId"], now=clock.now())
    except GatehouseError as refused:
        error = refused
    except Exception:  # noqa: BLE001 - a raise shows its text to the caller
        logger.exception("unhandled", request_id=asked["requestId"])
        error = Internal("Internal Server Error")
    status = error.status if error else 200
    logger.info(
        "socket",
        request_id=asked["requestId"],
        connection_id=asked["connectionId"],
        event=asked["eventType"],
        status=status,
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
    )
    if error is None:
        return {"statusCode": status}
    return {"statusCode": status, "body": json.dumps({"error": error.message, "status": status})}


def _connect(event: dict[str, Any]) -> None:
    asked = event["requestContext"]
    principal = _principal(asked)
    if principal.limit_state and principal.limit_state.exceeded:
        raise RateLimited("Rate limit exceeded", retry_after=principal.limit_state.retry_after)
    NEEDS(principal)
    query = event.get("queryStringParameters") or {}
    service = query.get("service")
    if not service:
        raise FieldRequired("service")
    presented = credentials.find_on_socket(event)
    if presented is None:
        raise Unauthorized("Unauthorized")
    logs.connect(
        TABLES.main,
        Call(
            request_id=asked["requestId"],
            now=clock.now(),
            principal=principal,
            source_address=asked.get("identity", {}).get("sourceIp"),
        ),
        CLOUD,
        _queue(),
        connection=asked["connectionId"],
        digest=credentials.hash_key(presented),
        service=service,
        asked=logs.wanted(lines=query.get("lines"), since=query.get("since")),
    )


def _principal(asked: dict[str, Any]) -> Principal:
    context = asked.get("authorizer")
    if not context or "key_id" not in context:
        raise Unauthorized("Unauthorized")
    return Principal.from_context(context)


@cache
def _queue() -> Queue:
    return Queue(settings.RELAY_QUEUE.text(), clients.sqs())
