"""One HTTP request and its answer over a connected socket."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from urllib3.util.ssltransport import SSLTransport

from gatehouse.outbound.answer import read_answer, shown
from gatehouse.outbound.urls import Destination
from gatehouse.outbound.wire import Wire

_LAST_LOOK = 0.1  # seconds for an answer that came while the request was not read


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Header names are in lower case, control characters in values are spaces.

    `broken` is the kind of failure that ended the answer after its status; None if nothing did.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: str | None = None


def exchange(
    method: str,
    target: Destination,
    wire: Wire,
    *,
    headers: Mapping[str, str],
    body: bytes,
    most: int,
) -> Reply:
    """Send one request; read its answer, up to `most` bytes of the body.

    Raises OSError (ssl.SSLError and TimeoutError included) or BadAnswer if there is no status.
    """
    # Only urllib3's TLS over an existing socket is used. An SSLSocket would bypass the limits of
    # the wire: while there are session tickets to read, one read goes on whatever its timeout.
    stream = wire if target.scheme == "http" else _secured(wire, target)
    try:
        # The host may have answered before it closed the connection, for example with 413.
        with suppress(BrokenPipeError, ConnectionResetError):
            stream.sendall(_request(method, target, headers, body))
    except TimeoutError:
        if not wire.is_readable():
            raise
        wire.ends_at = time.monotonic() + _LAST_LOOK

    def receive(size: int) -> bytes:
        received = stream.recv(size)
        return received if isinstance(received, bytes) else b""  # 0 is an end of TLS that was cut

    answer = read_answer(receive, method=method, most=most)
    return Reply(
        status=answer.status,
        headers=shown(answer.lines),
        body=bytes(answer.body),
        broken=None if answer.error is None else kind_of(answer.error),
    )


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


def _secured(wire: Wire, target: Destination) -> SSLTransport:
    return SSLTransport(wire, _trust(), server_hostname=target.host.strip("[]"))


def _request(method: str, target: Destination, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a request; URL and headers were checked for what would change it."""
    names = {name.lower() for name in headers}
    lines = [f"{method} {target.path} HTTP/1.1", f"Host: {target.authority}", "Connection: close"]
    if "accept-encoding" not in names:
        lines.append("Accept-Encoding: identity")
    if body or method in {"PATCH", "POST", "PUT"}:
        lines.append(f"Content-Length: {len(body)}")
    lines += (f"{name}: {value}" for name, value in headers.items())
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


@cache
def _trust() -> ssl.SSLContext:
    """Load the system's certificate authorities once; the context stores no session."""
    return ssl.create_default_context()
