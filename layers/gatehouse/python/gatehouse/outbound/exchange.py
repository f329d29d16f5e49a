"""One HTTP request and its answer over a connection, which may serve the next request, too."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from urllib3.util.ssltransport import SSLTransport

from gatehouse.outbound.answer import ReadAnswer, read_answer, shown
from gatehouse.outbound.failure import ClosedUnanswered, Unheard
from gatehouse.outbound.urls import Destination
from gatehouse.outbound.wire import Wire

IDLE = 4.0  # seconds; several servers close after 5
_LAST_LOOK = 0.1  # seconds for an answer that came while the request was not read
_KEEP_ALIVE = re.compile(r"timeout *= *([0-9]{1,9})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and how much of the body of its answer is read.

    URL and headers were checked for what would change it. `keep`: the connection may be kept.
    """

    method: str
    target: Destination
    headers: Mapping[str, str]
    body: bytes
    most: int
    keep: bool = False

    def encoded(self) -> bytes:
        """Return the bytes of the request."""
        lines = [f"{self.method} {self.target.path} HTTP/1.1", f"Host: {self.target.authority}"]
        if not self.keep:
            lines.append("Connection: close")
        if "accept-encoding" not in {name.lower() for name in self.headers}:
            lines.append("Accept-Encoding: identity")
        if self.body or self.method in {"PATCH", "POST", "PUT"}:
            lines.append(f"Content-Length: {len(self.body)}")
        lines += (f"{name}: {value}" for name, value in self.headers.items())
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.body


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Header names are in lower case, control characters in values are spaces.

    `broken` is the kind of failure that ended the answer after its status; None if nothing did.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: str | None = None


class Channel:
    """A connection to one address of one origin: TCP, and TLS for its host with https.

    Raises OSError (ssl.SSLError and TimeoutError included) or BadAnswer if there is no TLS.
    """

    def __init__(self, wire: Wire, target: Destination) -> None:
        self.wire = wire
        self.born = time.monotonic()
        # Only urllib3's TLS over an existing socket is used. An SSLSocket would bypass the limits
        # of the wire: while there are session tickets to read, one read goes on whatever its
        # timeout.
        self._tls = None
        if target.scheme != "http":
            self._tls = SSLTransport(wire, _trust(), server_hostname=target.host.strip("[]"))

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and nothing was received since the last answer."""
        tls = self._tls
        if tls is not None and (tls.sslobj.pending() or tls.incoming.pending):
            return False
        return not self.wire.is_readable()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        (self._tls or self.wire).sendall(data)

    def receive(self, size: int) -> bytes:
        """Receive up to so many bytes; b"" at the end."""
        if self._tls is None:
            return self.wire.recv(size)
        received = self._tls.recv(size)
        return received if isinstance(received, bytes) else b""  # 0 is an end of TLS that was cut

    def close(self) -> None:
        """Close the connection."""
        self.wire.close()


def exchange(channel: Channel, request: Request) -> tuple[Reply, float]:
    """Send a request and read its answer.

    Also returns for how many seconds the connection may wait for the next request; with 0 it must
    be closed.

    Raises OSError or BadAnswer if there is no status; Unheard if the host closed the connection
    before any byte of the request reached it.
    """
    wire = channel.wire
    acknowledged = wire.acknowledged()
    complete = False
    try:
        # The host may have answered before it closed the connection, for example with 413.
        with suppress(BrokenPipeError, ConnectionResetError):
            channel.send(request.encoded())
            complete = True
    except TimeoutError:
        if not wire.is_readable():
            raise
        wire.ends_at = time.monotonic() + _LAST_LOOK
    try:
        answer = read_answer(channel.receive, method=request.method, most=request.most)
    except ClosedUnanswered as error:
        # What a host takes from a connection it acknowledges, with its end at the latest.
        if acknowledged is not None and wire.acknowledged() == acknowledged:
            raise Unheard from error
        raise
    reply = Reply(
        status=answer.status,
        headers=shown(answer.lines),
        body=bytes(answer.body),
        broken=None if answer.error is None else kind_of(answer.error),
    )
    return reply, _idle(answer) if request.keep and complete else 0.0


def kind_of(error: Exception) -> str:
    """Return the kind of failure that an error of an exchange is."""
    match error:
        case TimeoutError():
            return "timeout"
        case ssl.SSLError():
            return "tls"
        case ConnectionRefusedError():
            return "refused"
        case OSError():
            return "connection"
        case _:
            return "protocol"


def _idle(answer: ReadAnswer) -> float:
    """Return for how many seconds a connection may wait after an answer."""
    # After another status, a host often has not read the whole request.
    accepted = 200 <= answer.status < 300  # noqa: PLR2004
    options = {one.strip() for one in answer.header("connection").lower().split(",")}
    if not (accepted and answer.whole and answer.minor) or options & {"close", "upgrade"}:
        return 0.0
    said = _KEEP_ALIVE.search(answer.header("keep-alive"))
    return IDLE if said is None else max(0.0, min(IDLE, int(said[1]) - 1.0))


@cache
def _trust() -> ssl.SSLContext:
    """Load the system's certificate authorities once; the context stores no session."""
    return ssl.create_default_context()
