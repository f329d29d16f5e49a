"""A viewer comes and goes. What it is sent is the relay's work."""

from __future__ import annotations

from gatehouse.aws.control_plane import Cloud
from gatehouse.aws.queue import Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import NotFound, Unavailable
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table
from gatehouse.logs import relay, rules, store
from gatehouse.logs.model import Open, Viewer, Wanted
from gatehouse.services import discovery

wanted = rules.wanted


def connect(
    table: Table,
    call: Call,
    cloud: Cloud,
    queue: Queue,
    *,
    connection: str,
    digest: str,
    service: str,
    asked: Wanted,
) -> Viewer:
    """Let the caller look at a service's log group, and ask for the backlog.

    Raises NotFound for a service that the account does not have or that has no log group to
    watch, BadInput for what is no name, BoundReached, Unavailable.
    """
    group = discovery.find_log_group(table, call, cloud, name=service)
    if group is None:
        raise NotFound(f'Service "{service}" has no logs to watch')
    viewer = Viewer(
        id=connection,
        group=group,
        service=service,
        account_id=call.caller.account_id,
        key_id=call.caller.key_id,
        digest=digest,
        wanted=asked,
        opened_at=call.now,
        pinged_at=call.now,
    )
    store.enter(table, viewer)
    try:
        relay.send(queue, Open(group, connection))
    except Unavailable:
        # The caller is refused: it must not count until the sweeper finds that it is not there.
        store.leave(table, viewer, now=call.now)
        raise
    return viewer


def disconnect(table: Table, *, connection: str, now: Micros) -> bool:
    """Note that a socket is closed. False where that was known."""
    group = store.group_of(table, connection)
    viewer = store.viewer(table, group, connection) if group else None
    if viewer is None or not store.leave(table, viewer, now=now):
        return False
    store.drop_held(table, connection)
    return True
