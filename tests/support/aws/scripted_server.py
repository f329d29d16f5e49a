"""A server on loopback that answers each request with the next step of a script, byte by byte."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from support.actors.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Step:
    """What to send; then the connection stays open, is closed, or is reset.

    `close_idle` closes it as soon as the answer is sent, without saying so in the answer.
    """

    sent: bytes = b""
    end: str = "open"  # open, close, reset, or silence


@dataclass
class Script:
    """The steps to come, and what has arrived: one entry for each request and connection."""

    steps: list[Step]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    done: threading.Event = field(default_factory=threading.Event)


def answer(
    body: Any, status: int = 200, *, headers: Mapping[str, str] | None = None, end: str = "open"
) -> Step:
    """Answer with JSON, or with bytes as they are, as DynamoDB does."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(raw)),
        "x-amz-crc32": str(zlib.crc32(raw)),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value)
    return Step(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + raw, end)


def refusal(code: str, status: int = 400, **fields: Any) -> Step:
    """Answer with an error of DynamoDB."""
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return answer({"__type": kind, "message": "for a test", **fields}, status)


@contextmanager
def playing(steps: Sequence[Step], *, certificate: Certificate | None = None) -> Iterator[Script]:
    """Serve a script until the block ends. Its last step answers all further requests."""
    script = Script(list(steps))
    listening = socket.create_server(("127.0.0.1", 0))
    scheme = "http" if certificate is None else "https"
    script.url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            script.connections += 1
            thread = threading.Thread(target=_serve, args=(script, connection, certificate))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield script
    finally:
        script.done.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in (accepting, *threads):
            thread.join()


def _serve(script: Script, connection: socket.socket, certificate: Certificate | None) -> None:
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key_file)
        connection = context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
    with suppress(OSError), connection:
        connection.settimeout(0.05)
        while True:
            request = _read(script, connection)
            if not request:
                return
            script.requests.append(request)
            step = script.steps.pop(0) if len(script.steps) > 1 else script.steps[0]
            connection.sendall(step.sent)
            if step.end == "silence":
                script.done.wait()
            if step.end == "reset":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if step.end != "open":
                connection.close()
                return


def _read(script: Script, connection: socket.socket) -> bytes:
    """Read a whole request; nothing when the client or the script has ended."""
    got = b""
    while True:
        head, mark, body = got.partition(b"\r\n\r\n")
        if mark:
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                return got
        try:
            piece = connection.recv(65_536)
        except TimeoutError:
            if script.done.is_set():
                return b""
            continue
        if not piece:
            return b""
        got += piece
