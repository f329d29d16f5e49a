"""Read a log group by CloudWatch Logs' FilterLogEvents: the newest lines, or all since a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.core.retry import Backoff
from gatehouse.logs import line_rules, rules
from gatehouse.logs.model import Line, Millis, Viewer

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_SECOND: Millis = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

# The ages between which the newest lines are searched, one range after the other. A search starts
# with the oldest line of its range, so a wide range in a busy group would never reach the newest.
_AGES = (0, 2 * _SECOND, 10 * _SECOND, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY)
# Each page is a request, of which AWS allows about five per second.
_MOST_PAGES = 12
_PAGE = 10_000
# For when the quota is used up, as when many viewers connect at once.
_QUOTA = Backoff(4, first=0.5, longest=2.0, least=0.5)


def read_backlog(
    client: CloudWatchLogsClient, viewer: Viewer, *, now: Millis
) -> tuple[list[Line], bool]:
    """Read the lines that a viewer receives first, and whether there are more after them."""
    since, count = viewer.backlog.since, viewer.backlog.lines
    if since is None and count:
        return read_newest(client, viewer.group, count=count, now=now), False
    start = viewer.opened_at // 1000 if since is None else since
    lines, more = read_all(client, viewer.group, start=start, most=rules.MOST_RESUMED)
    # If there are only late lines, the viewer must not reconnect with one of their ids.
    return [*_read_late(client, viewer), *lines], more and bool(lines)


def _read_late(client: CloudWatchLogsClient, viewer: Viewer) -> list[Line]:
    """Read lines from before `since` that CloudWatch may have found too late for this viewer.

    They are read separately: however many they are, the lines after `since` are read too, so each
    new `since` is later than the one before.
    """
    since = viewer.backlog.since
    if not since:  # none, or the epoch
        return []
    for overlap in (rules.OVERLAP, rules.SEARCH_LAG):
        lines, more = read_all(
            client,
            viewer.group,
            start=since - overlap,
            until=since - 1,
            most=rules.MOST_RESUMED,
        )
        if not more:
            break
    return lines


def read_newest(client: CloudWatchLogsClient, group: str, *, count: int, now: Millis) -> list[Line]:
    """Read the last lines of the last week, sorted by time.

    A group that does not exist has no lines. Raises ControlPlaneError.
    """
    found: list[Line] = []
    pages = _MOST_PAGES
    for youngest, oldest in pairwise(_AGES):
        # The first range has no end: a clock ahead of ours writes lines with a future time.
        until = now - youngest - 1 if youngest else None
        lines, pages, complete = _read_pages(
            client, group, since=now - oldest, until=until, pages=pages
        )
        if not complete and found:
            # The newest lines of this range are missing: using it would leave a gap.
            break
        found = lines + found
        if len(found) >= count or not complete:
            break
    return found[-count:]


def read_since(
    client: CloudWatchLogsClient, group: str, *, start: Millis, until: Millis | None = None
) -> tuple[list[Line], bool]:
    """Read lines from a time on, oldest first, and whether there are more after the last.

    Raises ControlPlaneError.
    """
    lines, _, complete = _read_pages(client, group, since=start, until=until, pages=_MOST_PAGES)
    return lines, not complete


def read_all(
    client: CloudWatchLogsClient,
    group: str,
    *,
    start: Millis,
    until: Millis | None = None,
    most: int,
) -> tuple[list[Line], bool]:
    """Repeat `read_since` until `most` lines are read or there are no more."""
    found: dict[str, Line] = {}
    more = True
    while more and len(found) < most:
        lines, more = read_since(client, group, start=start, until=until)
        before = len(found)
        found |= {line.id: line for line in lines}
        if len(found) == before:
            break
        start = lines[-1].at
    return line_rules.by_time(found.values()), more


def _read_pages(
    client: CloudWatchLogsClient, group: str, *, since: Millis, until: Millis | None, pages: int
) -> tuple[list[Line], int, bool]:
    """Read at most `pages` pages of a range; also return the pages left, and if it is complete."""
    streams: dict[str, list[tuple[Millis, str]]] = {}
    request: dict[str, Any] = {
        "logGroupName": group,
        "startTime": max(0, since),
        "limit": _PAGE,
    }
    if until is not None:
        request["endTime"] = until
    complete = False
    while pages and not complete:
        pages -= 1
        try:
            page = _read_page(client, request)
        except control_plane.ResourceMissing:
            return [], pages, True
        for event in page["events"]:
            stream = event["logStreamName"]
            streams.setdefault(stream, []).append((event["timestamp"], event["message"]))
        token = page.get("nextToken")
        complete = token is None
        request["nextToken"] = token
    return line_rules.by_time(_lines(streams)), pages, complete


def _read_page(client: CloudWatchLogsClient, request: dict[str, Any]) -> Any:
    for attempt in _QUOTA.tries():
        try:
            return control_plane.call(client.filter_log_events, **request)
        except (control_plane.ControlPlaneBusy, control_plane.NoAnswer):
            if attempt == _QUOTA.attempts:
                raise
    raise AssertionError("the last try returns or raises")


def _lines(streams: dict[str, list[tuple[Millis, str]]]) -> Iterator[Line]:
    for stream, events in streams.items():
        yield from line_rules.with_ids(stream, events)
