from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gatehouse.core.clock import Micros

Millis = int  # the unit of times in CloudWatch Logs

MOST_VIEWERS = 100  # of one log group
MOST_VIEWERS_OF_ACCOUNT = 200
MOST_LINES = 1000
USUAL_LINES = 500


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log stream. `id` starts with the line's time: a viewer resumes from it.

    A line that fits no frame is split: then `part` counts from 1 to `parts`.
    """

    id: str
    at: Millis
    message: str
    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class BacklogRequest:
    """What a viewer wants to receive first: the last `lines`, or all lines since a time."""

    lines: int = USUAL_LINES
    since: Millis | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    """One open socket and the log group whose lines it receives.

    `digest` identifies the key that opened the socket; the socket is closed when that key stops
    working. Until `live`, new lines are held for the viewer, in `held` items, because its backlog
    must come first. `pinged_at` is when the socket was last known to be open.
    """

    id: str
    group: str
    service: str
    account_id: str
    key_id: str
    digest: str
    backlog: BacklogRequest
    opened_at: Micros
    pinged_at: Micros
    live: bool = False
    held: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """A log group that has viewers, or had some until recently.

    `filter` is the name of its subscription filter, `tried_at` when we last sent it to CloudWatch,
    `filter_at` when CloudWatch accepted it, None if it has not. `refused`: CloudWatch rejected our
    last subscription filter. `delivered_at` is the time of the filter's first push: older lines
    have to be read. `retiring` are filters to delete. `left_at` is when the last viewer left.

    While `polling`, the group is read by a series of polls, last at `polled_at`; only the poll with
    the number `turn` may run. The polls read no line older than `since` and have read up to
    `cursor`; `seen` are the ids of the last lines that they sent.
    """

    group: str
    viewers: int = 0
    filter: str = ""
    filter_at: Micros | None = None
    tried_at: Micros = 0
    refused: bool = False
    delivered_at: Millis | None = None
    retiring: tuple[str, ...] = ()
    left_at: Micros = 0
    turn: int = 0
    polling: bool = False
    polled_at: Micros = 0
    since: Millis = 0
    cursor: Millis = 0
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Task: send a new viewer its backlog, then make it live."""

    group: str
    connection: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Task: search again for lines that CloudWatch could not find when the backlog was read."""

    group: str
    connection: str
    since: Millis
    until: Millis
    known: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Poll:
    """Task: read new lines of a group; skipped unless `turn` is the group's current one."""

    group: str
    turn: int


Task = Open | CatchUp | Poll


@dataclass(frozen=True, slots=True)
class PushedLines:
    """Lines of one stream that CloudWatch sent through subscription filters."""

    group: str
    stream: str
    filters: tuple[str, ...]
    lines: tuple[Line, ...]
