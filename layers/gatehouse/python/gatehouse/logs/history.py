"""What CloudWatch Logs has of a group, read by FilterLogEvents: the newest, or all since."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.logs import rules
from gatehouse.logs.model import Line, Millis, Viewer

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

_SECOND: Millis = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

# How far back the newest lines are looked for, a step at a time: a search begins with the oldest
# line of its range, so a wide one in a busy group would never reach the newest.
_STEPS = (0, 2 * _SECOND, 10 * _SECOND, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY)
# Every page is a request of the five or so that AWS answers in a second.
_MOST_PAGES = 12
_PAGE = 10_000
_TRIES = 4
_FIRST_WAIT = 0.5  # seconds, for when somebody else has used up the quota


def asked_for(
    client: CloudWatchLogsClient, viewer: Viewer, *, now: Millis
) -> tuple[list[Line], bool]:
    """Read what a viewer asked to see first; True: there is more after it."""
    since, count = viewer.wanted.since, viewer.wanted.lines
    if since is None and count:
        return newest(client, viewer.group, count=count, now=now), False
    start = viewer.opened_at // 1000 if since is None else since
    lines, more = everything(client, viewer.group, start=start, most=rules.MOST_RESUMED)
    # Who is sent only what came late must not resume from there.
    return [*_late(client, viewer), *lines], more and bool(lines)


def _late(client: CloudWatchLogsClient, viewer: Viewer) -> list[Line]:
    """Read what may have turned up too late for a viewer that resumes.

    Apart from what follows, which goes on with each `since` however much there is of this.
    """
    since = viewer.wanted.since
    if not since:  # none, or the beginning of time
        return []
    for overlap in (rules.OVERLAP, rules.SLACK):
        lines, more = everything(
            client,
            viewer.group,
            start=since - overlap,
            until=since - 1,
            most=rules.MOST_RESUMED,
        )
        if not more:
            break
    return lines


def newest(client: CloudWatchLogsClient, group: str, *, count: int, now: Millis) -> list[Line]:
    """Read the last lines of the last week in the order of time.

    A group that does not exist has no lines. Raises ControlPlaneError.
    """
    found: list[Line] = []
    pages = _MOST_PAGES
    for late, early in pairwise(_STEPS):
        # A clock that is ahead of ours writes lines of a time that is yet to come.
        until = now - late - 1 if late else None
        lines, pages, whole = _pages(client, group, since=now - early, until=until, pages=pages)
        if not whole and found:
            # The newest of these lines are missing: they would leave a gap before those found.
            break
        found = lines + found
        if len(found) >= count or not whole:
            break
    return found[-count:]


def since(
    client: CloudWatchLogsClient, group: str, *, start: Millis, until: Millis | None = None
) -> tuple[list[Line], bool]:
    """Read the lines from a moment on, the oldest first; True: there are more after the last.

    Raises ControlPlaneError.
    """
    lines, _, whole = _pages(client, group, since=start, until=until, pages=_MOST_PAGES)
    return lines, not whole


def everything(
    client: CloudWatchLogsClient,
    group: str,
    *,
    start: Millis,
    until: Millis | None = None,
    most: int,
) -> tuple[list[Line], bool]:
    """Read as `since` does, again and again, until there are so many lines or no more."""
    found: dict[str, Line] = {}
    more = True
    while more and len(found) < most:
        lines, more = since(client, group, start=start, until=until)
        before = len(found)
        found |= {line.id: line for line in lines}
        if len(found) == before:
            break
        start = lines[-1].at
    return rules.in_order(found.values()), more


def _pages(
    client: CloudWatchLogsClient, group: str, *, since: Millis, until: Millis | None, pages: int
) -> tuple[list[Line], int, bool]:
    """Read a range, at most so many pages of it; say how many are left and if that was all."""
    streams: dict[str, list[tuple[Millis, str]]] = {}
    request: dict[str, Any] = {
        "logGroupName": group,
        "startTime": max(0, since),
        "limit": _PAGE,
    }
    if until is not None:
        request["endTime"] = until
    whole = False
    while pages and not whole:
        pages -= 1
        try:
            answer = _asked(client, request)
        except control_plane.ResourceMissing:
            return [], pages, True
        for event in answer["events"]:
            stream = event["logStreamName"]
            streams.setdefault(stream, []).append((event["timestamp"], event["message"]))
        token = answer.get("nextToken")
        whole = token is None
        request["nextToken"] = token
    return rules.in_order(_identified(streams)), pages, whole


def _asked(client: CloudWatchLogsClient, request: dict[str, Any]) -> Any:
    """Ask for a page, again where the quota is used up: viewers come in crowds."""
    for attempt in range(_TRIES - 1):
        try:
            return control_plane.call(client.filter_log_events, **request)
        except (control_plane.ControlPlaneBusy, control_plane.NoAnswer):
            time.sleep(_FIRST_WAIT * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - jitter
    return control_plane.call(client.filter_log_events, **request)


def _identified(streams: dict[str, list[tuple[Millis, str]]]) -> Iterator[Line]:
    for stream, found in streams.items():
        yield from rules.identified(stream, found)
