"""Open and close viewers. The relay sends them their lines."""

from __future__ import annotations

from gatehouse.aws.control_plane import Cloud
from gatehouse.aws.queue import Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import NotFound, Unavailable
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table
from gatehouse.logs import held_store, line_rules, store
from gatehouse.logs.broadcast import send_task
from gatehouse.logs.model import BacklogRequest, Open, Viewer
from gatehouse.services import discovery


def parse_backlog_request(*, lines: str | None, since: str | None) -> BacklogRequest:
    """Parse the query parameters of a viewer. Raises BadInput that names the parameter."""
    return line_rules.parse_backlog_request(lines=lines, since=since)


def connect(
    table: Table,
    call: Call,
    cloud: Cloud,
    queue: Queue,
    *,
    connection: str,
    digest: str,
    service: str,
    backlog: BacklogRequest,
) -> Viewer:
    """Make a socket a viewer of a service's log group, and ask the relay for its backlog.

    Raises BadInput for an invalid name, NotFound if the account has no such service or its log
    group cannot be watched, BoundReached, Unavailable.
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
        backlog=backlog,
        opened_at=call.now,
        pinged_at=call.now,
    )
    store.add_viewer(table, viewer)
    try:
        send_task(queue, Open(group, connection))
    except Unavailable:
        # The socket is refused, so the viewer must not count until the sweeper removes it.
        store.remove_viewer(table, viewer, now=call.now)
        raise
    return viewer


def disconnect(table: Table, *, connection: str, now: Micros) -> bool:
    """Remove the viewer of a closed socket. Returns False if it was removed before."""
    group = store.find_group(table, connection)
    viewer = store.find_viewer(table, group, connection) if group else None
    if viewer is None or not store.remove_viewer(table, viewer, now=now):
        return False
    held_store.delete_held(table, connection)
    return True
