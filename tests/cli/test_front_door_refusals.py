"""The front door's WebSockets: refusals, and sockets when it stops."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatehouse_cli.local.front_door import Target
from gatehouse_cli.local.server import listen
from support.worlds.socket_stage import (
    LOGS,
    PATIENCE,
    REST,
    SHUTDOWN,
    SOCKETS,
    Stage,
    ended,
    engine_at,
    eventually,
    opened,
    refused,
    running,
    standing,
)


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
