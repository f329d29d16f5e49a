"""One HTTP request and its answer over a connected socket."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache

from urllib3.util.ssltransport import SSLTransport

from gatehouse.core.text import plain
from gatehouse.outbound.urls import Destination
from gatehouse.outbound.wire import Wire


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Header names are in lower case, control characters in values are spaces."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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

    Raises OSError (ssl.SSLError and TimeoutError included), HTTPException or ValueError.
    """
    # Only urllib3's TLS over an existing socket is used: its connection logs the URL, which may
    # hold a token, when an answer's headers do not parse. An SSLSocket would bypass the limits of
    # the wire: while there are session tickets to read, one read goes on whatever its timeout.
    name = target.host.strip("[]")
    connection = http.client.HTTPConnection(name, target.port)
    connection.response_class = _Answer
    connection.auto_open = 0  # it must not connect by itself
    connection.sock = (
        SSLTransport(wire, _trust(), server_hostname=name) if target.scheme == "https" else wire
    )
    framing = {"Host": target.authority, "Connection": "close"}
    # The host may have answered before it closed the connection, for example with 413.
    with suppress(BrokenPipeError, ConnectionResetError):
        # Without a body, http.client sends `Content-Length: 0` where a method expects one.
        connection.request(method, target.path, body=body or None, headers={**framing, **headers})
    with closing(connection.getresponse()) as answer:
        read = answer.read(most) if most else b""
        if len(read) < most and answer.length:
            raise http.client.IncompleteRead(read, answer.length)
        return Reply(
            status=answer.status,
            headers=_shown(answer.getheaders()),
            body=read,
        )


class _Answer(http.client.HTTPResponse):
    """A response that skips every interim answer, not only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        interim = http.client.PROCESSING <= status < http.client.OK
        return version, http.client.CONTINUE if interim else status, reason


@cache
def _trust() -> ssl.SSLContext:
    """Load the system's certificate authorities once; the context stores no session."""
    return ssl.create_default_context()


def _shown(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    shown: dict[str, str] = {}
    for name, value in headers:
        clean = plain(value)
        key = name.lower()
        shown[key] = f"{shown[key]}, {clean}" if key in shown else clean
    return shown
