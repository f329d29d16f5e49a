"""Receivers on loopback, a resolver of names, and a record of connections, all at the socket."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pytest

Answer = Callable[[socket.socket, bytes], None]
Found = list[str] | Exception


@dataclass
class Receiver:
    """A server on loopback: its port, the requests that it received, and its connections."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    # Set when the receiver closes: an answer that never ends waits for it.
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def saying(*parts: bytes) -> Answer:
    """Return an answer that sends these bytes."""

    def answer(connection: socket.socket, _: bytes) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def response(body: bytes = b"", *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def receiving(
    answer: Answer,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    each: int = 1,
) -> Iterator[Receiver]:
    """Listen while the block runs; call `answer` after each whole request.

    A connection is closed after `each` requests, or when the client closes it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as server:
        receiver = Receiver(server.getsockname()[1])
        threads: list[threading.Thread] = []
        kept: list[socket.socket] = []

        def serve(accepted: socket.socket) -> None:
            # In many tests the client closes the connection or refuses the certificate.
            with suppress(OSError), accepted:
                accepted.settimeout(20)
                connection = tls.wrap_socket(accepted, server_side=True) if tls else accepted
                with connection:
                    if each > 1:
                        kept.append(connection)
                    for _ in range(each):
                        request = whole_request(connection)
                        if not request and each > 1:
                            break
                        receiver.requests.append(request)
                        answer(connection, request)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted, _ = server.accept()
                    receiver.connections += 1
                    threads.append(threading.Thread(target=serve, args=(accepted,), daemon=True))
                    threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield receiver
        finally:
            receiver.over.set()
            server.shutdown(socket.SHUT_RDWR)
            acceptor.join(10)
            for one in kept:
                with suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def whole_request(connection: socket.socket) -> bytes:
    """Read a request: its head, and as much of a body as its Content-Length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65_536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        more = connection.recv(65_536)
        if not more:
            break
        body += more
    return head + b"\r\n\r\n" + body


class Names:
    """A resolver for tests: each name has a list of answers, and the last one is repeated.

    `others` is the answer for every other name.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Found]] = {}
        self.others: Found = socket.gaierror(socket.EAI_NONAME, "unknown name")
        self.asked: list[str] = []

    def say(self, name: str, *answers: Found) -> str:
        self.answers[name] = list(answers)
        return name

    def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        answers = self.answers.get(host, [self.others])
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return [_sockaddr(text, port) for text in found]


def _sockaddr(text: str, port: int) -> tuple[int, int, int, str, tuple[Any, ...]]:
    if ":" in text:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Resolve every name of this process with the answers that the test sets."""
    found = Names()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    return found


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Record every attempt to connect; refuse all addresses except loopback."""
    attempts: list[tuple[str, int]] = []
    connect = socket.socket.connect

    def dial(self: socket.socket, address: Any) -> None:
        attempts.append(address[:2])
        if not ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", dial)
    return attempts
