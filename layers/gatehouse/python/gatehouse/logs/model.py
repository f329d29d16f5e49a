from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gatehouse.core.clock import Micros

Millis = int  # CloudWatch Logs keeps time in these

MOST_VIEWERS = 100  # of one log group
MOST_VIEWERS_OF_ACCOUNT = 200
MOST_LINES = 1000
USUAL_LINES = 500


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log stream. `id` begins with its moment: a viewer resumes by it.

    `part` and `parts` are set where a long line was divided.
    """

    id: str
    at: Millis
    message: str
    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a viewer asked to see first: that many lines, or all since a moment."""

    lines: int = USUAL_LINES
    since: Millis | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    """One socket and what it looks at.

    `digest` is that of the key it came with, whose end is the socket's. Until it is `live`, lines
    are held back for it: its backlog comes first; `held` counts them. `pinged_at` is when it was
    last known to be there.
    """

    id: str
    group: str
    service: str
    account_id: str
    key_id: str
    digest: str
    wanted: Wanted
    opened_at: Micros
    pinged_at: Micros
    live: bool = False
    held: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """A log group that is watched, or was a moment ago.

    `filter` names the subscription filter that was asked for, `filter_at` is when CloudWatch had
    it, None while it has none; `refused`: it would not have it the last time. `delivered_at` is
    when it sent lines for the first time: what is older has to be read. `retiring` are filters to
    be taken away. `left_at` is when the last viewer went. A chain of polls is told by its `turn`;
    `since` is the oldest it looks at, `cursor` is up to when it has read, `seen` what of the last
    seconds it has sent.
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
    """Give a new viewer its backlog, then let it live."""

    group: str
    connection: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Look once more for lines that CloudWatch could not find yet when a backlog was read."""

    group: str
    connection: str
    since: Millis
    until: Millis
    known: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Poll:
    """Read what is new in a group; only the chain's own turn counts."""

    group: str
    turn: int


Task = Open | CatchUp | Poll


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a subscription filter sent: lines of one stream."""

    group: str
    stream: str
    filters: tuple[str, ...]
    lines: tuple[Line, ...]
