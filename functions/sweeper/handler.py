"""The net: each minute, finish what a crash, a lost message or a long wait left to be done."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from gatehouse import clock, settings, wiring
from gatehouse.audit.model import Origin
from gatehouse.deliveries import sending, sweeping
from gatehouse.errors import GatehouseError
from gatehouse.logs import sweeping as looking
from gatehouse.logs.relaying import Relay, Sockets
from gatehouse.memberships import actions as memberships
from gatehouse.observe import logger
from gatehouse.queue import Queue

TABLES = wiring.tables()
QUEUE = sending.queue()


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
    return asdict(sweeping.sweep(TABLES.main, QUEUE, embedding=_embedding(), now=clock.now()))


def _logs(origin: Origin) -> dict[str, int]:
    del origin  # likewise
    return asdict(looking.sweep(TABLES, _relay()))


@cache
def _relay() -> Relay:
    return Relay(
        table=TABLES.main,
        queue=Queue(settings.RELAY_QUEUE.text(), wiring.sqs()),
        sockets=Sockets(wiring.sockets(settings.SOCKETS.text())),
        logs=wiring.logs(),
        now=clock.now,
    )


@cache
def _embedding() -> Queue | None:
    url = settings.EMBEDDING_QUEUE.text()
    return Queue(url, wiring.sqs()) if url else None
