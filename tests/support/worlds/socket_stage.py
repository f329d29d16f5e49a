"""A front door before a WebSocket server that follows instructions."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from gatehouse_cli.local.callers import own_names
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.front_door import FrontDoor, Target
from gatehouse_cli.local.server import listen, serve_in_thread

REST, SOCKETS = "/_aws/execute-api/rest/live", "/_aws/execute-api/ws/live"
LOGS = "/api/services/orders/logs"
PATIENCE = 5.0
SHUTDOWN = 5.0  # seconds that the front door waits when it stops


class Stage:
    """Replaces the engine: sockets that follow instructions, and a plain path.

    `refusal` is the status and the body of each opening, None to let everybody in; `plain` is
    the status of a plain request.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.plain_requests: list[Request] = []
        self.refusal: tuple[int, bytes] | None = None
        self.plain = 200
        self.open: list[ServerConnection] = []
        self.waiting = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def judge(self, _: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith(REST):
            self.plain_requests.append(request)
            return _response(self.plain, b"{}")
        self.requests.append(request)
        self.waiting.set()
        assert self.go_on.wait(PATIENCE)
        return None if self.refusal is None else _response(*self.refusal)

    def talk(self, inner: ServerConnection) -> None:
        """Echo; `close <code>` closes the socket with that code, `cut` without a close frame."""
        self.open.append(inner)
        try:
            for message in inner:
                if isinstance(message, str) and message.startswith("close "):
                    inner.close(int(message.removeprefix("close ")))
                elif message == "cut":
                    inner.socket.shutdown(socket.SHUT_RDWR)
                else:
                    inner.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.open.remove(inner)

    def asked(self) -> dict[str, list[str]]:
        """Return the query of the only handshake."""
        (request,) = self.requests
        path = urlsplit(request.path)
        assert path.path == SOCKETS
        return parse_qs(path.query, keep_blank_values=True, strict_parsing=True)


def _response(status: int, body: bytes) -> Response:
    headers = Headers([("Content-Length", str(len(body))), ("Connection", "close")])
    return Response(status, "Said", headers, body)


@contextmanager
def running(stage: Stage) -> Iterator[EngineAccess]:
    """Serve a stage and yield how to reach it."""
    with serve(stage.talk, "127.0.0.1", 0, process_request=stage.judge, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield engine_at(server.socket.getsockname()[1])
        finally:
            server.shutdown()
            thread.join()


def engine_at(port: int) -> EngineAccess:
    return EngineAccess(port=port, key_id="GH1", secret="s", door="door secret")


@contextmanager
def standing(target: Target | None) -> Iterator[str]:
    """Serve a front door and yield the base URL of its sockets."""
    with listen([0]) as sockets:
        port = sockets[0].getsockname()[1]
        with serve_in_thread(FrontDoor(own_names([port]), target), sockets):
            yield f"ws://127.0.0.1:{port}"


class Errors(logging.Handler):
    """Every logged error; asyncio logs the exception of a task when it is collected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture(scope="module")
def house() -> Iterator[tuple[Stage, str]]:
    stage, errors = Stage(), Errors()
    logging.getLogger().addHandler(errors)
    with (
        running(stage) as engine,
        standing(Target(engine, rest_path=REST, socket_path=SOCKETS)) as url,
    ):
        yield stage, url
    gc.collect()
    logging.getLogger().removeHandler(errors)
    assert errors.texts == []


@pytest.fixture
def stage(house: tuple[Stage, str]) -> Iterator[Stage]:
    """The stage; after the test no socket may be open."""
    stage, _ = house
    stage.requests.clear()
    stage.plain_requests.clear()
    stage.refusal, stage.plain = None, 200
    yield stage
    eventually(lambda: not stage.open)


@pytest.fixture
def url(house: tuple[Stage, str]) -> str:
    return house[1]


def opened(address: str, **options: Any) -> ClientConnection:
    return connect(address, proxy=None, max_size=None, open_timeout=PATIENCE, **options)


def refused(address: str, **options: Any) -> Response:
    with pytest.raises(InvalidStatus) as caught:
        opened(address, **options)
    return caught.value.response


def ended(outer: ClientConnection) -> int:
    """Wait until the other side closes a socket, and return the code."""
    with pytest.raises(ConnectionClosed) as caught:
        outer.recv(timeout=PATIENCE)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


def eventually(true: Callable[[], bool], *, within: float = PATIENCE) -> None:
    until = time.monotonic() + within
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
