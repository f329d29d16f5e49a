"""Ids, frames, moments and what is due. Pure: `now` is an argument."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gatehouse.core import clock
from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.core.errors import BadInput
from gatehouse.logs.model import (
    MOST_LINES,
    USUAL_LINES,
    CatchUp,
    Line,
    Millis,
    Open,
    Poll,
    Pushed,
    Task,
    Viewer,
    Wanted,
    Watch,
)

# API Gateway takes 32 KiB in a frame; a little is left for what it counts itself.
LARGEST_FRAME = 32_000
_ENVELOPE = 300  # bytes of a frame around its lines, the longest service name included
_AROUND_A_LINE = 200  # bytes of a line around its message
_MOST_OF_A_LINE = LARGEST_FRAME - _ENVELOPE - _AROUND_A_LINE

SLACK: Millis = 10_000  # a line can be found up to so much later than its own time says
OVERLAP: Millis = 60_000  # that resuming goes back: Lambda tries a failed push again by then
MOST_SEEN = 2_000
MOST_RESUMED = 10_000  # lines that a resumed viewer is sent at once
POLLED_FOR: Micros = MINUTE  # a new filter delivers by then
POLL_EVERY = 2  # seconds
POLL_STUCK: Micros = 30 * SECOND
TRY_AGAIN: Micros = 30 * SECOND  # for a filter that could not be had
PUT_AGAIN: Micros = 10 * MINUTE  # in case somebody took the filter away
IDLE: Micros = 2 * MINUTE
FORGOTTEN: Micros = 10 * MINUTE  # after an ended chain pushes have brought what it did not read
PING_EVERY: Micros = 5 * MINUTE
UNOPENED: Micros = MINUTE
# API Gateway cuts after two hours, without a word.
LONGEST: Micros = 118 * MINUTE

_LARGEST_PUSH = 64 * 1024 * 1024  # bytes, unpacked

PING = '{"type":"ping"}'

_ID = re.compile(r"(\d{1,15})-[0-9a-f]{16}(-\d{1,6})?(\.\d{1,4})?", re.ASCII)
_COUNT = re.compile(r"\d{1,4}", re.ASCII)


def identified(stream: str, found: Iterable[tuple[Millis, str]]) -> list[Line]:
    """Name the lines of one stream, which come in its order, as every other read would.

    Neither a push nor a search can be trusted to bring the other's id (the local engine has none
    at all), so it is made of what a line is: moment, stream and text; equal ones are numbered.
    """
    count: Counter[tuple[Millis, str]] = Counter()
    lines = []
    for at, text in found:
        message = text.removesuffix("\n").removesuffix("\r")
        count[at, message] += 1
        number = count[at, message]
        content = json.dumps([stream, at, message]).encode()
        name = f"{at}-{hashlib.sha256(content).hexdigest()[:16]}"
        lines.append(Line(name if number == 1 else f"{name}-{number}", at, message))
    return lines


def wanted(*, lines: str | None, since: str | None) -> Wanted:
    """Read what a viewer asks for. Raises BadInput that names the parameter."""
    count = USUAL_LINES
    if lines is not None:
        if not _COUNT.fullmatch(lines) or int(lines) > MOST_LINES:
            raise BadInput(f"lines must be 0 to {MOST_LINES}", details={"field": "lines"})
        count = int(lines)
    if since is None:
        return Wanted(count)
    return Wanted(count, _moment(since))


def _moment(text: str) -> Millis:
    known = _ID.fullmatch(text)
    if known:
        return int(known[1])
    try:
        # A `+` of an offset that came unescaped is a space by now.
        return max(0, clock.parse(text.replace(" ", "+")) // 1000)
    except ValueError as error:
        raise BadInput(
            "since must be the id of a line or an RFC 3339 timestamp", details={"field": "since"}
        ) from error


def frames(service: str, lines: Iterable[Line]) -> Iterator[str]:
    """Write lines into frames, each within what a socket takes."""
    held: list[str] = []
    size = _ENVELOPE
    for line in lines:
        for part in divided(line):
            text = _shown(part)
            if held and size + len(text) + 1 > LARGEST_FRAME:
                yield _frame(service, held)
                held, size = [], _ENVELOPE
            held.append(text)
            size += len(text) + 1
    if held:
        yield _frame(service, held)


def divided(line: Line) -> Iterator[Line]:
    """Divide a line that no frame could hold; the ids of its parts end in their numbers."""
    if len(_quoted(line.message)) <= _MOST_OF_A_LINE:
        yield line
        return
    pieces = list(_pieces(line.message))
    for number, piece in enumerate(pieces, start=1):
        yield Line(f"{line.id}.{number}", line.at, piece, number, len(pieces))


def _pieces(message: str) -> Iterator[str]:
    start = size = 0
    for position, character in enumerate(message):
        # As JSON writes it, which is up to twelve bytes for one character.
        width = len(_quoted(character)) - 2
        if size + width > _MOST_OF_A_LINE - 2:  # its quotes
            yield message[start:position]
            start, size = position, 0
        size += width
    yield message[start:]


def _quoted(text: str) -> str:
    # In ASCII, so that its length is its bytes and half a surrogate pair survives.
    return json.dumps(text)


def _shown(line: Line) -> str:
    said: dict[str, Any] = {
        "id": line.id,
        "timestamp": clock.rfc3339(min(line.at * 1000, clock.LATEST)),
        "message": line.message,
    }
    if line.parts > 1:
        said |= {"part": line.part, "parts": line.parts}
    return json.dumps(said, separators=(",", ":"))


def _frame(service: str, lines: Sequence[str]) -> str:
    return f'{{"type":"log","service":{json.dumps(service)},"lines":[{",".join(lines)}]}}'


def frame_of_none(service: str) -> str:
    """Write the frame of a backlog that has no lines: what follows is live."""
    return _frame(service, [])


def notice(message: str) -> str:
    """Write a frame that tells a viewer something."""
    return json.dumps({"type": "notice", "message": message})


def farewell(reason: str) -> str:
    """Write the last frame of a socket that is closed by us."""
    return json.dumps({"type": "exit", "reason": reason})


def in_order(lines: Iterable[Line]) -> list[Line]:
    """Sort by time; lines of one moment stay as they came, which is their stream's order."""
    return sorted(lines, key=lambda line: line.at)


def is_poll_needed(watch: Watch, now: Micros) -> bool:
    """Tell whether somebody watches to whom no filter delivers yet."""
    if not watch.viewers:
        return False
    if watch.filter_at is None:
        return True
    return watch.delivered_at is None and now - watch.filter_at < POLLED_FOR


def is_chain_due(watch: Watch, now: Micros) -> bool:
    """Tell whether a chain of polls died, or was never begun where one is needed."""
    if not watch.viewers:
        return False
    if watch.polling:
        return now - watch.polled_at >= POLL_STUCK
    # Without a cursor no viewer lives yet, and the first one's backlog begins the chain.
    return bool(watch.cursor) and is_poll_needed(watch, now)


def resumed_from(watch: Watch, now: Micros) -> Millis:
    """Say from when a chain goes on: where it died, or where it ended, if that is not long ago."""
    return watch.cursor if watch.polling else max(watch.cursor, (now - FORGOTTEN) // 1000)


def is_filter_due(watch: Watch, now: Micros) -> bool:
    """Tell whether CloudWatch is to be asked for the filter: there is none, or long ago."""
    if not watch.viewers:
        return False
    if watch.filter_at is None:
        return now - watch.tried_at >= TRY_AGAIN
    return now - watch.tried_at >= PUT_AGAIN


def is_idle(watch: Watch, now: Micros) -> bool:
    """Tell whether nobody has watched for two minutes."""
    return watch.viewers == 0 and now - watch.left_at >= IDLE


def poll_from(watch: Watch) -> Millis:
    """Say from when a poll reads: a little before its cursor, as far as it knows what it sent."""
    start = max(watch.since, watch.cursor - SLACK)
    return start if len(watch.seen) < MOST_SEEN else max(start, moment_of(watch.seen[0]))


def oldest(viewer: Viewer, lines: Sequence[Line]) -> Millis:
    """Say what a viewer asked to see: older lines than these are none of its, if found later."""
    if viewer.wanted.since is not None:
        return 0
    if not viewer.wanted.lines:
        return viewer.opened_at // 1000
    return lines[0].at if len(lines) >= viewer.wanted.lines else 0


def remembered(known: Sequence[str], sent: Iterable[Line], *, cursor: Millis) -> tuple[str, ...]:
    """Keep the ids that the next poll may meet again, the oldest first and not too many."""
    oldest = cursor - SLACK
    names = dict.fromkeys([*known, *(line.id for line in sent)])
    late = (name for name in names if moment_of(name) >= oldest)
    return tuple(sorted(late, key=moment_of)[-MOST_SEEN:])


def moment_of(name: str) -> Millis:
    """Read the moment off a line's id."""
    return int(name.partition("-")[0])


def overdue(viewer: Viewer, now: Micros) -> str | None:
    """Say why a socket must end for its age, None where it need not."""
    if now - viewer.opened_at >= LONGEST:
        return "A socket lives two hours: connect again with since"
    return None


def pushed(data: str) -> Pushed | None:
    """Read what a subscription filter sent; None for CloudWatch's own message that it will.

    Raises ValueError for anything else.
    """
    try:
        text = zlib.decompressobj(wbits=31).decompress(base64.b64decode(data), _LARGEST_PUSH)
        said = json.loads(text)
        if said["messageType"] != "DATA_MESSAGE":
            return None
        found = [(event["timestamp"], event["message"]) for event in said["logEvents"]]
        return Pushed(
            group=said["logGroup"],
            stream=said["logStream"],
            filters=tuple(said["subscriptionFilters"]),
            lines=tuple(in_order(identified(said["logStream"], found))),
        )
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError("not from CloudWatch Logs") from error


def write(task: Task) -> str:
    """Write a task as a message of the queue."""
    if isinstance(task, Open):
        said: dict[str, Any] = {"do": "open", "group": task.group, "connection": task.connection}
    elif isinstance(task, Poll):
        said = {"do": "poll", "group": task.group, "turn": task.turn}
    else:
        said = {
            "do": "catch_up",
            "group": task.group,
            "connection": task.connection,
            "since": task.since,
            "until": task.until,
            "known": list(task.known),
        }
    return json.dumps(said, separators=(",", ":"))


def read(text: str) -> Task:
    """Read a message of the queue."""
    said = json.loads(text)
    kinds: dict[str, type[Task]] = {"open": Open, "poll": Poll, "catch_up": CatchUp}
    return kinds[said.pop("do")](**said)
