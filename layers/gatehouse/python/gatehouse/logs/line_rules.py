"""Ids and order of log lines, and the viewer's choice of first lines. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable

from gatehouse.core import clock
from gatehouse.core.errors import BadInput
from gatehouse.logs.model import MOST_LINES, USUAL_LINES, BacklogRequest, Line, Millis

_ID = re.compile(r"(\d{1,15})-[0-9a-f]{16}(-\d{1,6})?(\.\d{1,4})?", re.ASCII)
_COUNT = re.compile(r"\d{1,4}", re.ASCII)


def with_ids(stream: str, events: Iterable[tuple[Millis, str]]) -> list[Line]:
    """Return the lines of one stream, in its order, with ids that are the same on every read.

    A push and a search may have different event ids for a line (the local engine has none), so our
    id is made from the line's time, stream and text; equal lines are numbered.
    """
    count: Counter[tuple[Millis, str]] = Counter()
    lines = []
    for at, text in events:
        message = text.removesuffix("\n").removesuffix("\r")
        count[at, message] += 1
        number = count[at, message]
        content = json.dumps([stream, at, message]).encode()
        name = f"{at}-{hashlib.sha256(content).hexdigest()[:16]}"
        lines.append(Line(name if number == 1 else f"{name}-{number}", at, message))
    return lines


def by_time(lines: Iterable[Line]) -> list[Line]:
    """Return the lines sorted by time; lines of one stream keep their order."""
    return sorted(lines, key=lambda line: line.at)


def time_of(line_id: str) -> Millis:
    """Return the time in a line's id."""
    return int(line_id.partition("-")[0])


def parse_backlog_request(*, lines: str | None, since: str | None) -> BacklogRequest:
    """Parse the query parameters of a viewer. Raises BadInput that names the parameter."""
    count = USUAL_LINES
    if lines is not None:
        if not _COUNT.fullmatch(lines) or int(lines) > MOST_LINES:
            raise BadInput(f"lines must be 0 to {MOST_LINES}", details={"field": "lines"})
        count = int(lines)
    if since is None:
        return BacklogRequest(count)
    return BacklogRequest(count, _parse_since(since))


def _parse_since(text: str) -> Millis:
    line_id = _ID.fullmatch(text)
    if line_id:
        return int(line_id[1])
    try:
        # An unescaped `+` of a time zone has been decoded to a space.
        return max(0, clock.parse(text.replace(" ", "+")) // 1000)
    except ValueError as error:
        raise BadInput(
            "since must be the id of a line or an RFC 3339 timestamp", details={"field": "since"}
        ) from error
