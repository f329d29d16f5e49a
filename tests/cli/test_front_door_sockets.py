"""The front door's WebSockets: the request, frames and closing."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.worlds.socket_stage import (
    LOGS,
    PATIENCE,
    Stage,
    ended,
    eventually,
    opened,
    refused,
)


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
