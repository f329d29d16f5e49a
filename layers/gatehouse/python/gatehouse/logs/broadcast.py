"""Send new lines to viewers, and close the sockets that do not receive them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.observe import logger
from gatehouse.dynamo.table import Table
from gatehouse.logs import frame_rules, held_store, message_rules, store
from gatehouse.logs.adapters.sockets import ConnectionGone, ConnectionStuck, Sockets
from gatehouse.logs.model import Line, Millis, Task, Viewer

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_logs import CloudWatchLogsClient

_SIDE_BY_SIDE = 32
_NOT_OPEN_YET = 5.0  # seconds during which API Gateway may report a new socket as gone
_TICK = 0.05
_PATIENCE = 20.0  # seconds for a viewer to accept all frames of one broadcast
_TOO_SLOW = "Client too slow. Reconnect with ?since=<last id>."


@dataclass(frozen=True, slots=True)
class Relay:
    """What the relay works with. `now` is a function: one task may take many seconds."""

    table: Table
    queue: Queue
    sockets: Sockets
    logs: CloudWatchLogsClient = field(repr=False)
    now: Callable[[], Micros]
    own_arn: str = ""  # of the relay's function, which subscription filters call
    own_group: str = ""  # the log group of that function, whose lines are never sent

    def millis(self) -> Millis:
        """Return the current time in the unit of CloudWatch Logs."""
        return self.now() // 1000


def make_relay(
    table: Table,
    queue: Queue,
    *,
    sockets: ApiGatewayManagementApiClient,
    logs: CloudWatchLogsClient,
    now: Callable[[], Micros],
    own_arn: str = "",
    own_group: str = "",
) -> Relay:
    """Return a relay that uses these clients."""
    return Relay(table, queue, Sockets(sockets), logs, now, own_arn, own_group)


def send_task(queue: Queue, task: Task, *, delay: int = 0) -> None:
    """Send a task to the relay's queue, to be done after `delay` seconds. Raises Unavailable."""
    queue.send([Outgoing(message_rules.task_body(task), task.group[:100], delay)])


def broadcast(relay: Relay, viewers: Sequence[Viewer], lines: Sequence[Line]) -> int:
    """Send lines to viewers in parallel; return how many received them.

    For viewers that are not live yet the lines are held. A slow viewer does not delay the others.
    """
    if not lines or not viewers:
        return 0
    parts = [part for line in lines for part in frame_rules.split(line)]
    frames = {
        name: list(frame_rules.log_frames(name, parts))
        for name in {viewer.service for viewer in viewers}
    }

    def send(viewer: Viewer) -> bool:
        if viewer.live:
            return post(relay, viewer, frames[viewer.service])
        held = held_store.hold_lines(relay.table, viewer, parts, now=relay.now())
        return post(relay, viewer, frame_rules.log_frames(viewer.service, parts[held:]))

    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(viewers))) as pool:
        return sum(pool.map(send, viewers))


def post(relay: Relay, viewer: Viewer, frames: Iterable[str]) -> bool:
    """Send frames to one viewer. Returns False if it is gone, or was closed because it is slow."""
    until = time.monotonic() + _PATIENCE
    try:
        for frame in frames:
            if time.monotonic() > until:
                raise ConnectionStuck("too slow")  # noqa: TRY301 - handled as API Gateway's errors
            relay.sockets.post(viewer.id, frame)
    except ConnectionGone:
        remove(relay, viewer)
        return False
    except ConnectionStuck as stuck:
        _close_slow(relay, viewer, str(stuck))
        return False
    return True


def post_first(relay: Relay, viewer: Viewer, frames: Sequence[str]) -> bool:
    """Send frames as `post` does, to a socket that may not be open yet."""
    until = time.monotonic() + _NOT_OPEN_YET
    while True:
        try:
            relay.sockets.post(viewer.id, frames[0])
        except ConnectionGone:
            if time.monotonic() > until:
                remove(relay, viewer)
                return False
            time.sleep(_TICK)
        except ConnectionStuck as stuck:
            _close_slow(relay, viewer, str(stuck))
            return False
        else:
            return post(relay, viewer, frames[1:])


def remove(relay: Relay, viewer: Viewer) -> None:
    """Delete a viewer whose socket is closed.

    If that fails, the sweeper does it: the other viewers must not wait.
    """
    try:
        store.remove_viewer(relay.table, viewer, now=relay.now())
    except Unavailable:
        logger.warning("viewer_not_removed", connection_id=viewer.id)
        return
    delete_held(relay, viewer)


def delete_held(relay: Relay, viewer: Viewer) -> None:
    """Delete the lines held for a viewer. If that fails, they expire."""
    try:
        held_store.delete_held(relay.table, viewer.id)
    except Unavailable:
        logger.warning("held_lines_not_deleted", connection_id=viewer.id)


def _close_slow(relay: Relay, viewer: Viewer, reason: str) -> None:
    """Close a socket that missed lines: when it reconnects with `since`, it gets them."""
    logger.warning("viewer_too_slow", connection_id=viewer.id, reason=reason)
    relay.sockets.end(viewer.id, frame_rules.exit_frame(_TOO_SLOW))
    remove(relay, viewer)
