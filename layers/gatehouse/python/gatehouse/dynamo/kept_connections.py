"""HTTP/1.1 over connections that are kept between requests, to one host that we trust.

`http.client` would do, at twice the processor time: it parses each answer's headers as those of
an email. See docs/decisions.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from gatehouse.core import settings
from gatehouse.dynamo.endpoint import Endpoint

CONNECT_TIMEOUT = 1.0  # seconds of each step: one address, one read of the TLS handshake
READ_TIMEOUT = 2.0  # seconds between two pieces of an answer
_MOST_IDLE = 40  # connections that are kept open
_LONGEST_HEAD = 65_536  # bytes of a status and headers, or of the size of a chunk
_PIECE = 16_384  # a larger buffer is mapped anew for each read
_END = b"\r\n"
_DIGITS = re.compile(rb"[0-9A-Fa-f]+")


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
        self._unread = bytearray()  # what came and is not part of an answer yet
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def is_usable(self) -> bool:
        """Tell whether nothing has come since the last answer: the end of the connection would."""
        return not self._poll.poll(0)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def exchange(self, request: bytes) -> tuple[HttpAnswer, bool]:
        """Return an answer, and whether the connection can take another request."""
        self._socket.sendall(request)
        status, *lines = self._until(_END * 2).split(_END)
        version, code = _parse_status(status)
        headers = {
            name.lower(): value.strip() for name, _, value in (one.partition(b":") for one in lines)
        }
        body, ended = self._body(headers)
        closes = ended or self._unread or b"close" in headers.get(b"connection", b"").lower()
        return HttpAnswer(code, headers, body), not closes and version == b"HTTP/1.1"

    def _body(self, headers: dict[bytes, bytes]) -> tuple[bytes, bool]:
        """Return the body, and whether the end of the connection was its end."""
        if b"chunked" in headers.get(b"transfer-encoding", b"").lower():
            return self._chunks(), False
        length = headers.get(b"content-length")
        if length is not None:
            return self._exactly(_parse_length(length, base=10)), False
        while self._receive():
            pass
        return self._exactly(len(self._unread)), True

    def _chunks(self) -> bytes:
        body = b""
        while length := _parse_length(self._until(_END).partition(b";")[0], base=16):
            body += self._exactly(length)
            if self._until(_END):
                raise BrokenAnswer("a chunk is longer than its size")
        while self._until(_END):
            pass  # a trailer
        return body

    def _until(self, mark: bytes) -> bytes:
        """Take what comes before a mark, and the mark, which is not returned."""
        while (found := self._unread.find(mark)) < 0:
            if len(self._unread) > _LONGEST_HEAD:
                raise BrokenAnswer("the head of the answer is too long")
            if not self._receive():
                raise BrokenAnswer("the connection ended within the head of the answer")
        taken = self._exactly(found)
        del self._unread[: len(mark)]
        return taken

    def _exactly(self, length: int) -> bytes:
        while len(self._unread) < length:
            if not self._receive():
                raise BrokenAnswer("the connection ended within the body of the answer")
        taken = bytes(self._unread[:length])
        del self._unread[:length]
        return taken

    def _receive(self) -> bool:
        """Wait for more; False at the end of the connection."""
        piece = self._socket.recv(_PIECE)
        self._unread += piece
        return bool(piece)


def _parse_status(line: bytes) -> tuple[bytes, int]:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    # An interim answer, 1xx, comes only to a request that asks for it.
    if not version.startswith(b"HTTP/1.") or not code.isdigit() or code < b"200":
        raise BrokenAnswer("the answer does not begin with a final status of HTTP/1")
    return version, int(code)


def _parse_length(text: bytes, *, base: int) -> int:
    digits = text.strip()
    if not _DIGITS.fullmatch(digits):
        raise BrokenAnswer("the length of the body is not a number")
    try:
        return int(digits, base)
    except ValueError:
        raise BrokenAnswer("the length of the body is not a number") from None


def _load_trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.of_aws("AWS_CA_BUNDLE") or None)
