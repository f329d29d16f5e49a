"""Polls: read a group's new lines every two seconds until its filter pushes them."""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.aws import control_plane
from gatehouse.core.observe import logger
from gatehouse.logs import history, rules, store, subscription, watch_store
from gatehouse.logs.broadcast import Relay, broadcast, send_task
from gatehouse.logs.model import Line, Millis, Poll, Viewer, Watch


def start_for_viewer(relay: Relay, watch: Watch, viewer: Viewer, *, at: Millis) -> None:
    """Start to poll, unless a series of polls runs for other viewers, or for this one already."""
    left_over = watch.viewers == 1 and watch.since < viewer.opened_at // 1000
    if not rules.is_poll_needed(watch, relay.now()) or (watch.polling and not left_over):
        return
    since = max(at, viewer.opened_at // 1000)
    start(relay, watch, since=since, cursor=since, seen=(), delay=rules.POLL_EVERY)


def start(
    relay: Relay, watch: Watch, *, since: Millis, cursor: Millis, seen: Sequence[str], delay: int
) -> None:
    """Start a series of polls after `delay` seconds, unless another process has started one."""
    turn = watch_store.start_polls(
        relay.table, watch, since=since, cursor=cursor, seen=seen, now=relay.now()
    )
    if turn is not None:
        send_task(relay.queue, Poll(watch.group, turn), delay=delay)


def poll(relay: Relay, task: Poll) -> int:
    """Do one poll and ask for the next, if one is needed; return how many lines were found."""
    watch = watch_store.take_turn(relay.table, task.group, turn=task.turn, now=relay.now())
    if watch is None:
        return 0
    following = Poll(task.group, task.turn + 1)
    if _is_last_poll_early(relay, watch):
        # Wait until CloudWatch can find all lines from before the filter's first push.
        send_task(relay.queue, following, delay=rules.SEARCH_LAG // 1000)
        return 0
    watch = subscription.ensure_filter(
        relay.table, relay.logs, watch, to=relay.own_arn, now=relay.now()
    )
    lines, cursor, complete = _read_new(relay, watch)
    if lines:
        broadcast(relay, store.list_viewers(relay.table, task.group), lines)
    seen = rules.ids_to_remember(watch.seen, lines, cursor=cursor)
    more = (
        not complete
        or rules.is_poll_needed(watch, relay.now())
        or _is_last_poll_early(relay, watch)
    )
    is_current = watch_store.end_turn(
        relay.table, task.group, turn=following.turn, cursor=cursor, seen=seen, more=more
    )
    if is_current and more:
        delay = 0 if lines and not complete else rules.POLL_EVERY
        send_task(relay.queue, following, delay=delay)
    return len(lines)


def _is_last_poll_early(relay: Relay, watch: Watch) -> bool:
    """Return whether the filter pushes, but CloudWatch may still find lines from before that."""
    return watch.delivered_at is not None and relay.millis() < watch.delivered_at + rules.SEARCH_LAG


def _read_new(relay: Relay, watch: Watch) -> tuple[list[Line], Millis, bool]:
    """Return the lines that polls have not sent yet, the new cursor, and whether they are all."""
    if not watch.viewers:
        return [], watch.cursor, True
    started, start = relay.millis(), rules.poll_start(watch)
    until = None if watch.delivered_at is None else watch.delivered_at - 1
    if until is not None and until < start:
        return [], watch.cursor, True
    try:
        found, more = history.read_all(
            relay.logs, watch.group, start=start, until=until, most=rules.MOST_RESUMED
        )
    except control_plane.ControlPlaneError as failed:
        logger.warning("poll_failed", log_group=watch.group, reason=failed.code)
        return (
            [],
            watch.cursor,
            not isinstance(failed, control_plane.ControlPlaneBusy | control_plane.NoAnswer),
        )
    known = set(watch.seen)
    lines = [line for line in found if line.id not in known]
    if not more:
        return lines, started, True
    # Lines from a clock ahead of ours must not move the cursor past the present.
    return lines, min(found[-1].at, started) if found else watch.cursor, False
