"""The sweeper: every minute, completes what a crash, a lost message or a long wait left undone."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

from gatehouse.audit import sweep as audit_sweep
from gatehouse.audit.model import Chain, Origin
from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import clock, settings
from gatehouse.core.observe import logger
from gatehouse.deliveries import messages, sweep
from gatehouse.dynamo import connection
from gatehouse.logs import sweep as log_sweep
from gatehouse.logs.broadcast import Relay, make_relay
from gatehouse.memberships import actions as memberships
from gatehouse.revocation import actions as revocation

TABLES = connection.tables()
QUEUES = messages.queues()


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Do every duty and return the counts of what was done.

    No error in one duty stops the others, whatever it is. The last one is raised at the end, so
    that the alarm on failed invocations fires; the next minute's invocation tries again.
    """
    del event
    origin = Origin(
        actor="system:sweeper", request_id=str(context.aws_request_id), chain=Chain.MACHINE
    )
    done: dict[str, int] = {}
    failed: Exception | None = None
    for duty in (_revocations, _endings, _memberships, _deliveries, _logs):
        try:
            done |= duty(origin)
        except Exception as error:  # noqa: BLE001 - a bug or a missing permission too
            logger.exception("duty_failed", duty=duty.__name__.strip("_"))
            failed = error
    if any(done.values()):
        logger.warning("swept", extra=done)
    if failed is not None:
        raise failed
    return done


def _revocations(origin: Origin) -> dict[str, int]:
    del origin  # unused: each event has the origin of the request that asked for it
    return {"revocations": revocation.sweep(TABLES, now=clock.now())}


def _endings(origin: Origin) -> dict[str, int]:
    del origin  # unused: each event has the origin of its ending
    return {"endings": audit_sweep.sweep(TABLES.main, now=clock.now())}


def _memberships(origin: Origin) -> dict[str, int]:
    return {"memberships": memberships.sweep(TABLES, origin=origin, now=clock.now())}


def _deliveries(origin: Origin) -> dict[str, int]:
    del origin  # unused: sweeping deliveries writes no audit events
    return asdict(sweep.sweep(TABLES.main, QUEUES, now=clock.now()))


def _logs(origin: Origin) -> dict[str, int]:
    del origin  # unused: sweeping log viewers writes no audit events
    return asdict(log_sweep.sweep(TABLES, _relay()))


@cache
def _relay() -> Relay:
    return make_relay(
        TABLES.main,
        Queue(settings.RELAY_QUEUE.text(), clients.sqs()),
        sockets=clients.sockets(settings.SOCKETS.text()),
        logs=clients.logs(),
        now=clock.now,
    )
