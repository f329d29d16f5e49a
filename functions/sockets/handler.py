"""Sockets of live logs: check who opens one, and remove viewers whose socket was closed."""

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
from gatehouse.core.observe import log_failure, logger
from gatehouse.core.principal import SOCKET_SCOPE, Principal
from gatehouse.core.request import Call, unique_id
from gatehouse.credentials.model import SOCKET_PARAMETERS
from gatehouse.dynamo import connection
from gatehouse.logs import actions as logs
from gatehouse.policy.actions import managing
from gatehouse.web import bodies
from gatehouse.web.surfaces import SERVICES

TABLES = connection.tables()
CLOUD = Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs)
CHECK_ACCESS = managing(SOCKET_SCOPE)
PARAMETERS = ("service", "lines", "since", "ticket", *SOCKET_PARAMETERS)

Answer = dict[str, Any]


def handler(event: dict[str, Any], context: Any) -> Answer:
    """Handle API Gateway's events of a socket. Messages from viewers are accepted and ignored."""
    del context
    request = event["requestContext"]
    if request["eventType"] == "MESSAGE":
        return {"statusCode": 200}
    started = time.perf_counter()
    error: GatehouseError | None = None
    try:
        if request["eventType"] == "CONNECT":
            _connect(event)
        else:
            logs.disconnect(TABLES.main, connection=request["connectionId"], now=clock.now())
    except GatehouseError as refused:
        error = refused
        if error.status >= Internal.status:
            log_failure(error, request_id=request["requestId"], code=error.code)
    except Exception:  # noqa: BLE001 - API Gateway would show the exception to the caller
        logger.exception("unhandled", request_id=request["requestId"])
        error = Internal("Internal Server Error")
    status = error.status if error else 200
    logger.info(
        "socket",
        request_id=request["requestId"],
        connection_id=request["connectionId"],
        event=request["eventType"],
        status=status,
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
    )
    if error is None:
        return {"statusCode": status}
    body = SERVICES.error_body(error, request["requestId"], "")
    return {"statusCode": status, "body": json.dumps(body)}


def _connect(event: dict[str, Any]) -> None:
    request = event["requestContext"]
    principal = _principal(request)
    if principal.limit_state and principal.limit_state.exceeded:
        raise RateLimited("Rate limit exceeded", retry_after=principal.limit_state.retry_after)
    CHECK_ACCESS(principal)
    query = event.get("queryStringParameters") or {}
    sent = event.get("multiValueQueryStringParameters") or {}
    bodies.check_query([(name, one) for name in sent for one in sent[name]], PARAMETERS)
    service = query.get("service")
    if not service:
        raise FieldRequired("service")
    logs.connect(
        TABLES.main,
        Call(
            request_id=unique_id(request),
            now=clock.now(),
            principal=principal,
            source_address=request.get("identity", {}).get("sourceIp"),
        ),
        CLOUD,
        _queue(),
        connection=request["connectionId"],
        digest=principal.key_digest,
        service=service,
        backlog=logs.parse_backlog_request(lines=query.get("lines"), since=query.get("since")),
    )


def _principal(request: dict[str, Any]) -> Principal:
    context = request.get("authorizer")
    if not context or "key_id" not in context:
        raise Unauthorized("Unauthorized")
    return Principal.from_context(context)


@cache
def _queue() -> Queue:
    return Queue(settings.RELAY_QUEUE.text(), clients.sqs())
