"""The relay: handles what CloudWatch pushes, and the tasks in its queue."""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.aws import control_plane
from gatehouse.core.observe import logger
from gatehouse.logs import (
    backlog,
    history,
    line_rules,
    message_rules,
    polls,
    rules,
    store,
    watch_store,
)
from gatehouse.logs.broadcast import Relay, broadcast
from gatehouse.logs.model import Line, Open, Poll, PushedLines, Task, Viewer, Watch


def parse_push(data: str) -> PushedLines | None:
    """Parse the data of a push. None: a test message of CloudWatch. Raises ValueError."""
    return message_rules.parse_push(data)


def parse_task(body: str) -> Task:
    """Parse a message of the queue."""
    return message_rules.parse_task(body)


def push(relay: Relay, pushed: PushedLines) -> int:
    """Send pushed lines to all viewers of their group; return how many received them.

    The first push of a filter also reads what was written since the last poll.
    """
    if pushed.group == relay.own_group:
        # Each call would write lines that cause the next call, without end.
        return 0
    watch = watch_store.find(relay.table, pushed.group)
    if watch is None or not watch.viewers or not pushed.lines:
        return 0
    viewers = store.list_viewers(relay.table, pushed.group)
    if watch.delivered_at is None and watch.filter in pushed.filters:
        return _push_first(relay, watch, viewers, pushed.lines)
    return broadcast(relay, viewers, pushed.lines)


def _push_first(
    relay: Relay, watch: Watch, viewers: Sequence[Viewer], lines: Sequence[Line]
) -> int:
    """Send a filter's first lines together with those written since the last poll.

    The push is recorded last: after a crash, Lambda's repeat of the push does it all again.
    """
    started = relay.millis()
    try:
        found, more = history.read_all(
            relay.logs, watch.group, start=rules.poll_start(watch), most=rules.MOST_RESUMED
        )
    except control_plane.ControlPlaneError as failed:
        # The next push or poll tries again.
        logger.warning("lines_before_push_not_read", log_group=watch.group, reason=failed.code)
        return broadcast(relay, viewers, lines)
    known = {*watch.seen, *(line.id for line in lines)}
    lines = line_rules.by_time([*(line for line in found if line.id not in known), *lines])
    received = broadcast(relay, viewers, lines)
    cursor = min(found[-1].at, started) if more and found else started
    seen = rules.ids_to_remember(watch.seen, lines, cursor=cursor)
    if not watch.polling:
        # Finds lines that CloudWatch cannot find yet, and the rest if there were too many.
        polls.start(
            relay,
            watch,
            since=watch.since,
            cursor=cursor,
            seen=seen,
            delay=backlog.CATCH_UP_AFTER,
        )
    watch_store.filter_delivered(
        relay.table, watch.group, name=watch.filter, at=relay.millis(), cursor=cursor, seen=seen
    )
    return received


def work(relay: Relay, task: Task) -> int:
    """Do one task of the queue; return how many lines were found."""
    if isinstance(task, Open):
        return backlog.open_viewer(relay, task)
    if isinstance(task, Poll):
        return polls.poll(relay, task)
    return backlog.catch_up(relay, task)
