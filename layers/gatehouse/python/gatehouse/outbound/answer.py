"""Reading an answer of HTTP/1.x: its status decides, and the rest is read as far as it can be.

Once the three digits of a status have arrived, nothing that follows changes the outcome: what was
read of headers and body is returned with the error that ended it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gatehouse.core.text import plain
from gatehouse.outbound.failure import BadAnswer, ClosedUnanswered

MAX_LINES = 65_536  # bytes of all lines together: status, headers, chunk sizes, trailers
MAX_HEADERS = 256  # lines
MAX_INTERIM = 16
_READ = 16_384

_STATUS = re.compile(rb"HTTP/1\.([0-9]) +([1-9][0-9]{2})(?=[ \r\n])")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110, 5.6.2
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r?\n?", re.DOTALL)
_SWITCHING = 101
_WITHOUT_BODY = frozenset({_SWITCHING, 204, 304})


@dataclass(slots=True)
class ReadAnswer:
    """What was read of an answer. `error` ended it early; None if nothing did.

    `whole` says that all of it was read and that nothing followed it.
    """

    status: int
    minor: int  # of HTTP's version
    lines: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    error: Exception | None = None
    whole: bool = False

    def header(self, name: str) -> str:
        """Return the values of a header, joined; empty if there is none."""
        return ", ".join(value for known, value in self.lines if known.lower() == name)


def read_answer(recv: Callable[[int], bytes], *, method: str, most: int) -> ReadAnswer:
    """Read an answer, and up to `most` bytes of its body; `recv` returns b"" at the end.

    Raises OSError or BadAnswer if there is no status: ClosedUnanswered if there is no byte.
    """
    source = _Source(recv)
    if not source.fill():
        raise ClosedUnanswered
    for _ in range(MAX_INTERIM + 1):
        answer = _begun(source)
        interim = 100 <= answer.status < 200 and answer.status != _SWITCHING  # noqa: PLR2004
        if interim and answer.error is not None:
            raise answer.error
        if answer.error is not None:
            return answer
        try:
            _read_headers(source, answer)
            if not interim:
                framed = _read_body(source, answer, method=method, most=most)
                answer.whole = framed and answer.error is None and source.is_empty
        except (OSError, BadAnswer) as error:
            if interim:
                raise
            answer.error = error
        if not interim:
            return answer
    raise BadAnswer("too many interim answers")


def shown(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers with names in lower case and values without control characters."""
    found: dict[str, str] = {}
    for name, value in lines:
        clean = plain(value)
        key = name.lower()
        found[key] = f"{found[key]}, {clean}" if key in found else clean
    return found


class _Source:
    """Received bytes that were not yet taken."""

    def __init__(self, recv: Callable[[int], bytes]) -> None:
        self._recv = recv
        self._data = bytearray()
        self._lines_left = MAX_LINES

    @property
    def is_empty(self) -> bool:
        return not self._data

    def fill(self) -> bool:
        """Receive more; return False at the end."""
        more = self._recv(_READ)
        self._data += more
        return bool(more)

    def line(self) -> bytes:
        """Take a line with its newline. Raises BadAnswer if it is too long or has no end."""
        seen = 0
        while (end := self._data.find(b"\n", seen)) < 0:
            seen = len(self._data)
            if seen >= self._lines_left:
                raise BadAnswer("the lines are too long")
            if not self.fill():
                raise BadAnswer("the answer ends within a line")
        self._lines_left -= end + 1
        if self._lines_left < 0:
            raise BadAnswer("the lines are too long")
        return self.take(end + 1)

    def peek(self) -> bytes:
        return bytes(self._data[:64])

    def take(self, most: int) -> bytes:
        """Take up to so many bytes of those that are here."""
        taken = bytes(self._data[:most])
        del self._data[:most]
        return taken

    def exactly(self, size: int, into: bytearray) -> None:
        """Move so many bytes to `into`. Raises BadAnswer if the answer ends before."""
        while size:
            if not self._data and not self.fill():
                raise BadAnswer("the answer ends within its body")
            taken = self.take(size)
            into += taken
            size -= len(taken)


def _begun(source: _Source) -> ReadAnswer:
    """Read a status line. The error of a line that ends after the status is in the answer."""
    if source.is_empty and not source.fill():
        raise ConnectionResetError("closed after an interim answer")
    error: Exception | None = None
    try:
        line = source.line()
    except (OSError, BadAnswer) as failed:
        line, error = source.peek(), failed
    match = _STATUS.match(line)
    if match is None:
        raise error or BadAnswer("not a status line")
    return ReadAnswer(int(match[2]), int(match[1]), error=error)


def _read_headers(source: _Source, answer: ReadAnswer) -> None:
    """Read header lines into the answer. A line without a name is skipped, and noted."""
    for _ in range(MAX_HEADERS + 1):
        text = source.line().rstrip(b"\r\n").decode("latin-1")
        if not text:
            return
        name, colon, value = text.partition(":")
        if text[0] in " \t" and answer.lines:
            name, before = answer.lines[-1]
            answer.lines[-1] = (name, " ".join((before, text.strip(" \t"))))
        elif colon and _NAME.fullmatch(name):
            answer.lines.append((name, value.strip(" \t")))
        else:
            answer.error = BadAnswer("a header has no name")
    raise BadAnswer("too many headers")


def _read_body(source: _Source, answer: ReadAnswer, *, method: str, most: int) -> bool:
    """Read up to `most` bytes of the body; return whether that was all, and its end is certain."""
    if method == "HEAD" or answer.status in _WITHOUT_BODY:
        return answer.status != _SWITCHING
    coding, length = answer.header("transfer-encoding").lower(), answer.header("content-length")
    if coding:
        if coding.rpartition(",")[2].strip() == "chunked":
            return _read_chunks(source, answer, most) and not length
        return _read_to_end(source, answer, most)
    if not length:
        return _read_to_end(source, answer, most)
    sizes = {one.strip() for one in length.split(",")}
    size = sizes.pop()
    if sizes or not (size.isascii() and size.isdigit() and len(size) < 20):  # noqa: PLR2004
        raise BadAnswer("not a length")
    source.exactly(min(int(size), most), answer.body)
    return int(size) <= most


def _read_to_end(source: _Source, answer: ReadAnswer, most: int) -> bool:
    while len(answer.body) < most and (not source.is_empty or source.fill()):
        answer.body += source.take(most - len(answer.body))
    return False


def _read_chunks(source: _Source, answer: ReadAnswer, most: int) -> bool:
    if not most:
        return False
    while True:
        match = _CHUNK.fullmatch(source.line())
        if match is None:
            raise BadAnswer("not the size of a chunk")
        size = int(match[1], 16)
        if not size:
            break
        left = most - len(answer.body)
        source.exactly(min(size, left), answer.body)
        if size > left:
            return False
        if source.line() not in {b"\r\n", b"\n"}:
            raise BadAnswer("a chunk is longer than its size")
    while source.line() not in {b"\r\n", b"\n"}:
        pass  # trailers, within MAX_LINES
    return True
