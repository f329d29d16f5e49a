"""The HTTP server of a receiver: it reads whole requests and answers as its director says."""

import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from support.actors.certificates import Certificate

_PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Received:
    """A complete request. `at` is seconds since the epoch; headers are as they were sent."""

    at: float
    method: str
    path: str  # with its query
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of a header, in order."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def header(self, name: str) -> str:
        """Return the value of a header that must be there exactly once."""
        (value,) = self.all(name)
        return value


# ---- What a server may do with a request -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. Times are in seconds."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    size: int = 0  # so many bytes follow the body, made while they are sent
    delay: float = 0.0  # before the first byte
    trickle_head: float = 0.0  # between any two bytes of status line and headers
    trickle_body: float = 0.0  # between any two bytes of the body


@dataclass(frozen=True, slots=True)
class Hold:
    """No answer before `Receiver.release`; then this one."""

    then: Answer = Answer()


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection without an answer; with `reset`, as after a crash."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """Send these bytes and close the connection."""

    data: bytes


Behaviour = Answer | Hold | Close | Raw


class Director(Protocol):
    """Decides what the server does; called from many threads at once."""

    closing: threading.Event

    def accepted(self) -> None:
        """Count a connection."""

    def began(self, received: Received) -> Behaviour:
        """Record a request and return the behaviour for it."""

    def held(self) -> bool:
        """Wait for the release; return False when the receiver closes instead."""

    def ended(self) -> None:
        """Record that a request that `began` was answered or given up."""

    def failed(self, error: BaseException) -> None:
        """Record the error that ended a connection early."""


# ---- The server --------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    # Closing waits for the threads, so that no thread outlives its test.
    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, director: Director, *, certificate: Certificate | None, silent: bool
    ) -> None:
        self.director = director
        self.silent = silent
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate.file, certificate.key_file)
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in its own thread: a handshake must not delay another."""
        self.director.accepted()
        if self._tls:
            # The new socket takes over from `request`, so this thread must close it.
            request = self._tls.wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
        with self._lock:
            self._open.add(request)
        try:
            if self.silent:
                self.director.closing.wait()
            elif not self.director.closing.is_set():
                if self._tls:
                    request.do_handshake()
                super().finish_request(request, client_address)
        finally:
            with self._lock:
                self._open.discard(request)
            if self._tls:
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass the error to the director instead of printing it."""
        del request, client_address
        error = sys.exception()
        if error is not None:
            self.director.failed(error)

    def hang_up(self) -> None:
        """Close the open connections, whatever their threads are reading or writing."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    # Not TLS's own shutdown: that one belongs to the other thread.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def answer(self) -> None:
        """Read a whole request, record it, and do what the director says."""
        director = self.server.director
        body = self._body()
        if body is None:
            self.close_connection = True
            return
        headers = tuple(self.headers.items())
        received = Received(time.time(), self.command, self.path, headers, body)
        try:
            behaviour = director.began(received)
            if isinstance(behaviour, Hold):
                behaviour = behaviour.then if director.held() else Close()
            self._do(behaviour)
        finally:
            director.ended()

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = answer  # noqa: N815 - the base class's names

    def _body(self) -> bytes | None:
        """Read the body; return None when the client left before its end."""
        if "Transfer-Encoding" in self.headers:
            raise ValueError("This server reads only bodies with a Content-Length")
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _do(self, behaviour: Behaviour) -> None:
        match behaviour:
            case Answer():
                self._send(behaviour)
            case Raw(data):
                self.close_connection = True
                self.wfile.write(data)
            case Close(reset):
                self.close_connection = True
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    os.close(
                        self.connection.detach()
                    )  # otherwise the base class shuts it down in order
            case Hold():
                raise TypeError("Hold.then must be an Answer")

    def _send(self, answer: Answer) -> None:
        closing = self.server.director.closing
        if closing.wait(answer.delay):
            self.close_connection = True
            return
        headers = dict(answer.headers)
        size = len(answer.body) + answer.size
        if answer.status not in {204, 304}:
            headers.setdefault("Content-Length", str(size))
        lines = [
            f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}",
            *(f"{n}: {v}" for n, v in headers.items()),
        ]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        body = b"" if self.command == "HEAD" else answer.body
        if answer.trickle_head or answer.trickle_body:
            self._trickle(head, answer.trickle_head)
            self._trickle(body, answer.trickle_body)
        else:
            self.wfile.write(head + body)
        for sent in range(0, 0 if self.command == "HEAD" else answer.size, _PIECE):
            self.wfile.write(b"x" * min(_PIECE, answer.size - sent))

    def _trickle(self, data: bytes, pause: float) -> None:
        for number in range(len(data)):
            self.wfile.write(data[number : number + 1])
            if self.server.director.closing.wait(pause):
                raise ConnectionAbortedError

    def log_message(self, *_: object) -> None:
        """Print nothing: a failing test names what it missed."""
