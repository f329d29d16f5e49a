"""The front door's WebSockets in front of a real WebSocket server on loopback."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


# ---- The request -------------------------------------------------------------------------------


def test_the_name_in_the_path_becomes_the_service(stage: Stage, url: str) -> None:
    with opened(url + LOGS):
        assert stage.asked() == {"service": ["orders"]}


def test_the_other_query_parameters_are_forwarded(stage: Stage, url: str) -> None:
    with opened(f"{url}{LOGS}?lines=0&since=2026-11-21T10:00:00%2B01:00&token=hk_1&other="):
        assert stage.asked() == {
            "lines": ["0"],
            "since": ["2026-11-21T10:00:00+01:00"],
            "token": ["hk_1"],
            "other": [""],
            "service": ["orders"],
        }


@pytest.mark.parametrize(
    "query",
    ["service=billing", "service=a&lines=1&service=b", "s%65rvice=billing", "service", "service="],
)
def test_a_service_in_the_query_is_ignored(stage: Stage, url: str, query: str) -> None:
    with opened(f"{url}{LOGS}?{query}"):
        assert stage.asked()["service"] == ["orders"]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a%2Fb", "a/b"),
        ("%E2%82%AC", "€"),
        ("x%26service%3Dbilling", "x&service=billing"),
        ("a%20b%2Bc+d", "a b+c+d"),
        ("%2e%2e", ".."),
        ("100%25", "100%"),
        ("%ff", "�"),  # the name of no service
    ],
)
def test_escapes_in_the_services_name_are_decoded(
    stage: Stage, url: str, written: str, name: str
) -> None:
    with opened(f"{url}/api/services/{written}/logs"):
        assert stage.asked() == {"service": [name]}


def test_only_credential_headers_are_forwarded(stage: Stage, url: str) -> None:
    given = {
        "Authorization": "Bearer hk_1",
        "X-Hammurabi-API-Key": "hk_2",
        "X-Api-Key": "hk_3",
        "Cookie": "a=1",
        "X-Forwarded-For": "203.0.113.9",
        "X-Amz-Target": "Lambda.Invoke",
        "X-Gatehouse-Door": "guess",
    }
    with opened(url + LOGS, additional_headers=given, origin=url.replace("ws", "http")):
        (request,) = stage.requests
    sent = {name.lower(): value for name, value in request.headers.raw_items()}
    handshake = {"host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version"}

    assert {name: sent.pop(name) for name in sorted(sent) if name not in handshake} == {
        "authorization": "Bearer hk_1",
        "user-agent": request.headers["User-Agent"],
        "x-api-key": "hk_3",
        "x-gatehouse-door": "door secret",
        "x-hammurabi-api-key": "hk_2",
    }
    assert set(sent) == handshake
    assert sent["host"].startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Origin", "https://elsewhere.example", 403),
        ("Origin", "http://localhost:3000", 403),
        ("Origin", "null", 403),
        ("Host", "elsewhere.example", 421),
    ],
)
def test_sockets_of_other_pages_and_names_are_refused(
    stage: Stage, url: str, header: str, value: str, status: int
) -> None:
    if header == "Host":
        port = int(url.rpartition(":")[2])
        raw = socket.create_connection(("127.0.0.1", port))
        answer = refused(f"ws://{value}:{port}{LOGS}", sock=raw)
    else:
        answer = refused(url + LOGS, additional_headers={header: value})

    assert answer.status_code == status
    assert b"option --host" in bytes(answer.body or b"")
    assert stage.requests == stage.plain_requests == []


# ---- Frames ------------------------------------------------------------------------------------


def test_frames_are_forwarded_both_ways_in_order_and_by_kind(stage: Stage, url: str) -> None:
    del stage
    messages = ["one", b"\x00\xff", "", b"", "zwölf €", "x" * 100_000, *map(str, range(50))]
    with opened(url + LOGS) as outer:
        for message in messages:
            outer.send(message)
        assert [outer.recv(timeout=PATIENCE) for _ in messages] == messages


def test_a_frame_of_api_gateways_largest_size_is_forwarded(stage: Stage, url: str) -> None:
    with opened(url + LOGS) as outer:
        eventually(lambda: len(stage.open) == 1)
        for _ in range(50):
            stage.open[0].send("y" * 32_000)
        assert {len(outer.recv(timeout=PATIENCE)) for _ in range(50)} == {32_000}


def test_a_fragmented_message_arrives_whole(stage: Stage, url: str) -> None:
    del stage
    with opened(url + LOGS) as outer:
        outer.send(["one ", "two ", "three"])
        assert outer.recv(timeout=PATIENCE) == "one two three"


def test_a_message_over_the_gateways_limit_closes_the_socket(stage: Stage, url: str) -> None:
    del stage
    with opened(url + LOGS) as outer:
        outer.send("x" * (128 * 1024 + 1))
        assert ended(outer) == 1009


def test_a_viewers_ping_is_answered(stage: Stage, url: str) -> None:
    del stage
    with opened(url + LOGS) as outer:
        assert outer.ping().wait(PATIENCE)


def test_fifty_concurrent_sockets_receive_their_own_messages(stage: Stage, url: str) -> None:
    del stage
    everybody = threading.Barrier(50)

    def one(number: int) -> str | bytes:
        with opened(f"{url}/api/services/s{number}/logs") as outer:
            everybody.wait(4 * PATIENCE)
            outer.send(f"of {number}")
            return outer.recv(timeout=PATIENCE)

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(one, range(50))) == [f"of {number}" for number in range(50)]


# ---- Closing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 4000, 4999])
def test_a_socket_that_the_stack_closes_closes_with_the_same_code(
    stage: Stage, url: str, code: int
) -> None:
    del stage
    with opened(url + LOGS) as outer:
        outer.send(f"close {code}")
        assert ended(outer) == code


def test_a_socket_that_the_stack_drops_closes_as_going_away(stage: Stage, url: str) -> None:
    """API Gateway drops sockets like this; a viewer then reconnects."""
    del stage
    with opened(url + LOGS) as outer:
        outer.send("cut")
        assert ended(outer) == 1001


def test_messages_sent_before_the_close_arrive_before_it(stage: Stage, url: str) -> None:
    with opened(url + LOGS) as outer:
        eventually(lambda: len(stage.open) == 1)
        inner = stage.open[0]
        for number in range(100):
            inner.send(str(number))
        inner.close(1000)
        heard = [outer.recv(timeout=PATIENCE) for _ in range(100)]
        assert (heard, ended(outer)) == ([str(number) for number in range(100)], 1000)


@pytest.mark.parametrize("code", [1000, 1001, 4001])
def test_a_viewers_close_closes_the_stacks_socket(stage: Stage, url: str, code: int) -> None:
    outer = opened(url + LOGS)
    eventually(lambda: len(stage.open) == 1)
    outer.close(code)
    eventually(lambda: not stage.open)


def test_a_viewers_lost_connection_closes_the_stacks_socket(stage: Stage, url: str) -> None:
    outer = opened(url + LOGS)
    eventually(lambda: len(stage.open) == 1)
    outer.socket.shutdown(socket.SHUT_RDWR)
    eventually(lambda: not stage.open)


def test_a_viewer_who_disconnects_early_leaves_no_open_socket(stage: Stage, url: str) -> None:
    stage.go_on.clear()
    stage.waiting.clear()
    host, port = url.removeprefix("ws://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(
            f"GET {LOGS} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "\r\n".encode()
        )
        assert stage.waiting.wait(PATIENCE)
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1) == b""  # the front door has noticed
    stage.go_on.set()
    eventually(lambda: bool(stage.requests))
    with opened(url + LOGS) as other:  # is served after it
        other.send("x")
        assert other.recv(timeout=PATIENCE) == "x"
        eventually(lambda: len(stage.open) == 1)


# ---- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_a_refusal_is_returned_with_its_body(stage: Stage, url: str, status: int) -> None:
    stage.refusal = (status, b'{"message":"No"}')
    answer = refused(url + LOGS)

    assert (answer.status_code, answer.body) == (status, b'{"message":"No"}')
    assert answer.headers["Content-Type"] == "application/json"
    assert stage.plain_requests == []


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_without_a_body_is_returned_too(stage: Stage, url: str, status: int) -> None:
    stage.refusal = (status, b"")
    answer = refused(url + LOGS)

    assert (answer.status_code, answer.body) == (status, b"")
    assert stage.plain_requests == []


@pytest.mark.parametrize(
    ("plain", "expected"), [(403, 403), (404, 404), (429, 429), (503, 503), (400, 400), (426, 400)]
)
def test_a_bare_403_becomes_the_status_of_a_plain_request(
    stage: Stage, url: str, plain: int, expected: int
) -> None:
    """The engine answers 403 for every refusal of $connect. 426 means that the query is wrong."""
    stage.refusal, stage.plain = (403, b""), plain

    assert refused(f"{url}/api/services/a%2Fb/logs?lines=x&token=hk_1").status_code == expected
    (request,) = stage.plain_requests
    assert request.path == f"{REST}/api/services/a%2Fb/logs"
    assert request.headers["Authorization"] == "Bearer hk_1"


def test_the_plain_request_carries_the_viewers_credential(stage: Stage, url: str) -> None:
    stage.refusal, stage.plain = (403, b""), 404
    refused(f"{url}{LOGS}?token=hk_1", additional_headers={"X-Api-Key": "hk_2"})

    (request,) = stage.plain_requests
    assert request.headers["X-Api-Key"] == "hk_2"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/services/orders/logs/",
        "/api/services/orders/health",
        "/api/services//logs",
        "/api/services/a/b/logs",
        "/API/services/orders/logs",
        "/live/api/services/orders/logs",
    ],
)
def test_a_socket_on_another_path_is_404(stage: Stage, url: str, path: str) -> None:
    assert refused(url + path).status_code == 404
    assert stage.requests == []


def test_before_a_stack_is_deployed_a_socket_is_503() -> None:
    with standing(None) as url:
        assert refused(url + LOGS).status_code == 503


def test_when_the_engine_has_stopped_a_socket_is_503() -> None:
    with listen([0]) as unused:
        port = unused[0].getsockname()[1]
    gone = Target(engine_at(port), rest_path=REST, socket_path=SOCKETS)
    with standing(gone) as url:
        assert refused(url + LOGS).status_code == 503


def test_a_server_without_websockets_is_503() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        engine = engine_at(server.getsockname()[1])

        def hang_up() -> None:
            server.accept()[0].close()

        with standing(Target(engine, rest_path=REST, socket_path=SOCKETS)) as url:
            thread = threading.Thread(target=hang_up)
            thread.start()
            assert refused(url + LOGS).status_code == 503
            thread.join()


# ---- Stopping the front door -------------------------------------------------------------------


def test_stopping_the_front_door_closes_its_sockets() -> None:
    stage, outers = Stage(), []
    with running(stage) as engine:
        with standing(Target(engine, rest_path=REST, socket_path=SOCKETS)) as url:
            outers = [opened(url + LOGS) for _ in range(20)]
            eventually(lambda: len(stage.open) == 20)
            began = time.monotonic()
        took = time.monotonic() - began
        assert [ended(outer) for outer in outers] == [1012] * 20
        eventually(lambda: not stage.open)
    assert took < SHUTDOWN


def test_an_unresponsive_engine_does_not_delay_the_shutdown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = engine_at(silent.getsockname()[1])
        with (
            ThreadPoolExecutor(1) as pool,
            standing(Target(engine, rest_path=REST, socket_path=SOCKETS)) as url,
        ):
            opening = pool.submit(refused, url + LOGS)
            accepted, _ = silent.accept()
            assert accepted.recv(10_000)
            began = time.monotonic()
        with accepted:
            assert time.monotonic() - began < SHUTDOWN
            assert opening.result(PATIENCE).status_code == 500
