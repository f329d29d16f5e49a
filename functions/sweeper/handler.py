"""The net: each minute, finish what a crash, a lost message or a long wait left to be done."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from gatehouse.audit.model import Origin
from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.errors import GatehouseError
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages, sweep
from gatehouse.dynamo import connection
from gatehouse.logs import sweep as looking
from gatehouse.logs.relay import Relay, Sockets
from gatehouse.memberships import actions as memberships

TABLES = connection.tables()
QUEUE = messages.queue()


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Answer a scheduled event with what was done.

    A duty that fails holds up no other. Raises its error in the end: the schedule comes again, and
    the alarm tells.
    """
    del event
    origin = Origin(actor="system:sweeper", request_id=str(context.aws_request_id))
    done: dict[str, int] = {}
    failed: GatehouseError | None = None
    for duty in (_memberships, _deliveries, _logs):
        try:
            done |= duty(origin)
        except GatehouseError as error:
            failed = error
    if any(done.values()):
        logger.warning("swept", extra=done)
    if failed is not None:
        raise failed
    return done


def _memberships(origin: Origin) -> dict[str, int]:
    return {"memberships": memberships.sweep(TABLES, origin=origin, now=clock.now())}


def _deliveries(origin: Origin) -> dict[str, int]:
    del origin  # nobody decided anything
    return asdict(sweep.sweep(TABLES.main, QUEUE, embedding=_embedding(), now=clock.now()))


def _logs(origin: Origin) -> dict[str, int]:
    del origin  # likewise
    return asdict(looking.sweep(TABLES, _relay()))


@cache
def _relay() -> Relay:
    return Relay(
        table=TABLES.main,
        queue=Queue(settings.RELAY_QUEUE.text(), clients.sqs()),
        sockets=Sockets(clients.sockets(settings.SOCKETS.text())),
        logs=clients.logs(),
        now=clock.now,
    )


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, clients.sqs()) if url else None
