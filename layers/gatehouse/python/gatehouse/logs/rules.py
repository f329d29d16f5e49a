"""When polls, filters and sockets are due, and which lines a poll reads. Pure: `now` is passed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.logs.line_rules import time_of
from gatehouse.logs.model import Line, Millis, Viewer, Watch

SEARCH_LAG: Millis = 10_000  # CloudWatch finds a line up to this long after the line's own time
OVERLAP: Millis = 60_000  # read again before `since`: by then Lambda has repeated a failed push
MOST_SEEN = 2_000
MOST_RESUMED = 10_000  # lines that a resuming viewer receives at once
POLLED_FOR: Micros = MINUTE  # by then a new filter has started to push
POLL_EVERY = 2  # seconds
POLL_STUCK: Micros = 30 * SECOND
RETRY_FILTER: Micros = 30 * SECOND  # after CloudWatch rejected a filter
RENEW_FILTER: Micros = 10 * MINUTE  # in case somebody deleted the filter
IDLE: Micros = 2 * MINUTE
POLLS_REACH_BACK: Micros = 10 * MINUTE  # lines from before then have been pushed
PING_EVERY: Micros = 5 * MINUTE
BACKLOG_OVERDUE: Micros = MINUTE
# API Gateway closes a socket after two hours, without a last frame.
SOCKET_LIFE: Micros = 118 * MINUTE


def is_poll_needed(watch: Watch, now: Micros) -> bool:
    """Return whether there are viewers and the filter does not push yet."""
    if not watch.viewers:
        return False
    if watch.filter_at is None:
        return True
    return watch.delivered_at is None and now - watch.filter_at < POLLED_FOR


def is_polling_due(watch: Watch, now: Micros) -> bool:
    """Return whether a series of polls was interrupted, or is needed and was not started."""
    if not watch.viewers:
        return False
    if watch.polling:
        return now - watch.polled_at >= POLL_STUCK
    # Without a cursor no viewer is live yet, and the first viewer's backlog starts the polls.
    return bool(watch.cursor) and is_poll_needed(watch, now)


def resume_at(watch: Watch, now: Micros) -> Millis:
    """Return from when a new series of polls reads: where the last one stopped, if not long ago."""
    return watch.cursor if watch.polling else max(watch.cursor, (now - POLLS_REACH_BACK) // 1000)


def is_filter_due(watch: Watch, now: Micros) -> bool:
    """Return whether to put the filter: there is none, or it was last put long ago."""
    if not watch.viewers:
        return False
    if watch.filter_at is None:
        return now - watch.tried_at >= RETRY_FILTER
    return now - watch.tried_at >= RENEW_FILTER


def is_idle(watch: Watch, now: Micros) -> bool:
    """Return whether the group has had no viewers for two minutes."""
    return watch.viewers == 0 and now - watch.left_at >= IDLE


def poll_start(watch: Watch) -> Millis:
    """Return from when a poll reads: before its cursor, as far as the ids of sent lines are known.

    Those ids are how a poll skips lines that were sent before.
    """
    start = max(watch.since, watch.cursor - SEARCH_LAG)
    return start if len(watch.seen) < MOST_SEEN else max(start, time_of(watch.seen[0]))


def oldest_wanted(viewer: Viewer, lines: Sequence[Line]) -> Millis:
    """Return the time before which lines that are found later must not be sent to the viewer."""
    if viewer.backlog.since is not None:
        return 0
    if not viewer.backlog.lines:
        return viewer.opened_at // 1000
    return lines[0].at if len(lines) >= viewer.backlog.lines else 0


def ids_to_remember(
    known: Sequence[str], sent: Iterable[Line], *, cursor: Millis
) -> tuple[str, ...]:
    """Return the ids of lines that the next poll may read again, oldest first, at most 2,000."""
    oldest = cursor - SEARCH_LAG
    ids = dict.fromkeys([*known, *(line.id for line in sent)])
    recent = (one for one in ids if time_of(one) >= oldest)
    return tuple(sorted(recent, key=time_of)[-MOST_SEEN:])


def end_reason(viewer: Viewer, now: Micros) -> str | None:
    """Return why a socket must be closed because of its age; None if it must not."""
    if now - viewer.opened_at >= SOCKET_LIFE:
        return "The socket reached its limit of two hours. Reconnect with ?since=<last id>."
    return None
