"""The JSON frames that viewers receive, each small enough for a socket. Pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gatehouse.core import clock
from gatehouse.logs.model import Line

# API Gateway accepts frames of 32 KiB; the rest is left for its own overhead.
LARGEST_FRAME = 32_000
_ENVELOPE = 300  # bytes of a frame around its lines, with the longest service name
_AROUND_A_LINE = 200  # bytes of a line around its message
_MOST_OF_A_LINE = LARGEST_FRAME - _ENVELOPE - _AROUND_A_LINE

PING = '{"type":"ping"}'


def log_frames(service: str, lines: Iterable[Line]) -> Iterator[str]:
    """Yield frames with these lines, as many lines in each as fit."""
    texts: list[str] = []
    size = _ENVELOPE
    for line in lines:
        for part in split(line):
            text = _line_text(part)
            if texts and size + len(text) + 1 > LARGEST_FRAME:
                yield _frame(service, texts)
                texts, size = [], _ENVELOPE
            texts.append(text)
            size += len(text) + 1
    if texts:
        yield _frame(service, texts)


def split(line: Line) -> Iterator[Line]:
    """Yield the line, in parts if no frame can hold it; the id of a part ends with its number."""
    if len(_quoted(line.message)) <= _MOST_OF_A_LINE:
        yield line
        return
    pieces = list(_pieces(line.message))
    for number, piece in enumerate(pieces, start=1):
        yield Line(f"{line.id}.{number}", line.at, piece, number, len(pieces))


def _pieces(message: str) -> Iterator[str]:
    start = 0
    while start < len(message):
        end = _end_of_piece(message, start)
        yield message[start:end]
        start = end


def _end_of_piece(message: str, start: int) -> int:
    """Return where the longest piece from `start` ends; in JSON, a character is 1 to 12 bytes."""
    ends = range(start, min(start + _MOST_OF_A_LINE, len(message)) + 1)
    fitting = bisect_right(ends, _MOST_OF_A_LINE, key=lambda end: len(_quoted(message[start:end])))
    return ends[fitting - 1]


def _quoted(text: str) -> str:
    # ASCII only: the length is the number of bytes, and half a surrogate pair is kept.
    return json.dumps(text)


def _line_text(line: Line) -> str:
    fields: dict[str, Any] = {
        "id": line.id,
        "timestamp": clock.rfc3339(min(line.at * 1000, clock.LATEST)),
        "message": line.message,
    }
    if line.parts > 1:
        fields |= {"part": line.part, "parts": line.parts}
    return json.dumps(fields, separators=(",", ":"))


def _frame(service: str, lines: Sequence[str]) -> str:
    return f'{{"type":"log","service":{json.dumps(service)},"lines":[{",".join(lines)}]}}'


def empty_frame(service: str) -> str:
    """Return the frame of a backlog without lines: all later lines are new."""
    return _frame(service, [])


def notice_frame(message: str) -> str:
    """Return a frame with a message for the viewer."""
    return json.dumps({"type": "notice", "message": message})


def exit_frame(reason: str) -> str:
    """Return the last frame before we close a socket."""
    return json.dumps({"type": "exit", "reason": reason})
