"""HTTP/1.1 over connections that are kept between requests, to one host that we trust.

`http.client` would do, at twice the processor time: it parses each answer's headers as those of
an email. See docs/decisions.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from gatehouse.dynamo.endpoint import Endpoint

CONNECT_TIMEOUT = 1.0  # seconds, the TLS handshake included
READ_TIMEOUT = 2.0  # seconds between two pieces of an answer
_MOST_IDLE = 40  # connections that are kept open
_MOST_HEADERS = 100
_LONGEST_LINE = 65_536


class BrokenAnswer(Exception):
    """The connection ended within an answer, or what came is not HTTP."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, headers by lower-case name, and the body."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class KeptConnections:
    """Connections to one endpoint. Threads may share it: each request has a connection alone."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._trust: ssl.SSLContext | None = None
        self._lock = Lock()
        self._idle: deque[_Connection] = deque()

    def exchange(self, request: bytes) -> HttpAnswer:
        """Send a whole request and read its answer. Raises OSError or BrokenAnswer.

        After an error all idle connections are closed: what ended one has often ended them all,
        and the next try must not meet the next of them.
        """
        connection = self._take() or self._open()
        try:
            answer, reusable = connection.exchange(request)
        except BaseException:
            connection.close()
            self.close()
            raise
        if reusable and len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _open(self) -> _Connection:
        if self._endpoint.scheme == "https" and self._trust is None:
            # Loading the authorities takes 20 ms, so not at import, and once for all threads.
            with self._lock:
                self._trust = self._trust or _load_trust()
        return _Connection(self._endpoint, self._trust)

    def _take(self) -> _Connection | None:
        # The last one used is the least likely to have been closed by the server.
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.is_usable():
                    return connection
                connection.close()
        return None


class _Connection:
    def __init__(self, endpoint: Endpoint, trust: ssl.SSLContext | None) -> None:
        address = (endpoint.host, endpoint.port)
        opened = socket.create_connection(address, CONNECT_TIMEOUT)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if trust is not None:
                opened = trust.wrap_socket(opened, server_hostname=endpoint.host)
            opened.settimeout(READ_TIMEOUT)
        except BaseException:
            opened.close()
            raise
        self._socket = opened
        self._file = opened.makefile("rb")
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def is_usable(self) -> bool:
        """Tell whether nothing has come since the last answer: the end of the connection would."""
        return not self._poll.poll(0)

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()
            self._socket.close()

    def exchange(self, request: bytes) -> tuple[HttpAnswer, bool]:
        """Return an answer, and whether the connection can take another request."""
        self._socket.sendall(request)
        version, status = self._status()
        headers = self._headers()
        closing = b"close" in headers.get(b"connection", b"").lower()
        body, framed = self._body(headers)
        return HttpAnswer(status, headers, body), framed and not closing and version == b"HTTP/1.1"

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise BrokenAnswer("the connection ended within a line, or the line is too long")
        return line

    def _status(self) -> tuple[bytes, int]:
        line = self._line()
        version, _, rest = line.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit() or rest[:1] < b"2":
            raise BrokenAnswer("the answer does not begin with a final status of HTTP/1")
        return version, int(rest[:3])

    def _headers(self) -> dict[bytes, bytes]:
        headers: dict[bytes, bytes] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if line in (b"\r\n", b"\n"):
                return headers
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        raise BrokenAnswer("too many headers")

    def _body(self, headers: dict[bytes, bytes]) -> tuple[bytes, bool]:
        """Return the body, and whether its length was known."""
        if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
            return self._chunks(), True
        length = headers.get(b"content-length")
        if length is None:
            return self._file.read(), False
        if not length.isdigit():
            raise BrokenAnswer("Content-Length is not a number")
        return self._exactly(int(length)), True

    def _exactly(self, length: int) -> bytes:
        body = self._file.read(length)
        if len(body) < length:
            raise BrokenAnswer("the connection ended within the body")
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            size = self._line().partition(b";")[0].strip()
            try:
                length = int(size, 16)
            except ValueError:
                raise BrokenAnswer("the size of a chunk is not a number") from None
            if length == 0:
                break
            body += self._exactly(length)
            self._line()
        self._headers()  # trailers
        return body


def _load_trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
