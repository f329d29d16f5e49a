"""Requests to real receivers on loopback, hostile ones included."""

from __future__ import annotations

import gzip
import itertools
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.outbound import client as outbound
from gatehouse.outbound.client import Reply
from gatehouse.outbound.headers import can_be_sent
from support.actors.receivers import Answer, Names, receiving, response, saying

# A deadline that a test waits for, and what a busy machine may add.
SHORT = 0.4
LATE = 8.0
SOON = 4.0


@pytest.fixture(autouse=True, scope="module")
def _local() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEHOUSE_OUTBOUND", "local")
        yield


def post(url: str, body: bytes = b"{}", **options: Any) -> Reply:
    headers = options.pop("headers", {"Content-Type": "application/json"})
    return outbound.send("POST", url, headers=headers, body=body, **options)


def kind_of(url: str, **options: Any) -> str:
    with pytest.raises(outbound.RequestFailed) as failed:
        post(url, **options)
    assert str(failed.value).endswith(".")
    assert url not in str(failed.value)
    return failed.value.kind


def open_sockets() -> int:
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            count += "socket" in str(path.readlink())
    return count


# ---- Requests ------------------------------------------------------------------------------


def test_a_request_is_sent_unchanged() -> None:
    with receiving(saying(response(b"thanks", headers="X-Thing: a\r\n"))) as receiver:
        reply = outbound.send(
            "POST",
            f"{receiver.url}/hook?token=1",
            headers={"Content-Type": "application/json", "X-Chorus-Event": "task"},
            body=b'{"a":1}',
        )
        (request,) = receiver.requests

    assert reply == Reply(200, {"x-thing": "a", "content-length": "6"}, b"thanks")
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST /hook?token=1 HTTP/1.1"
    assert sorted(headers) == [
        "Accept-Encoding: identity",
        "Connection: close",
        "Content-Length: 7",
        "Content-Type: application/json",
        f"Host: 127.0.0.1:{receiver.port}",
        "User-Agent: Gatehouse",
        "X-Chorus-Event: task",
    ]
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    ("method", "length"), [("GET", None), ("HEAD", None), ("DELETE", None), ("POST", "0")]
)
def test_a_request_without_a_body_has_content_length_zero(method: str, length: str | None) -> None:
    with receiving(saying(response())) as receiver:
        reply = outbound.send(method, receiver.url, headers={"user-agent": "Mine/1"})
        (request,) = receiver.requests

    assert (reply.status, reply.body) == (200, b"")
    assert request.startswith(f"{method} / HTTP/1.1\r\n".encode())
    assert request.lower().count(b"user-agent:") == 1
    assert (b"content-length" in request.lower()) is (length is not None)


def test_a_large_body_arrives_complete() -> None:
    body = os.urandom(3_000_000)
    with receiving(saying(response())) as receiver:
        assert post(receiver.url, body, timeout=60).status == 200
        assert receiver.requests[0].endswith(body)


def test_proxies_of_the_environment_and_cookies_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with receiving(saying(response(headers="Set-Cookie: a=b\r\n"))) as receiver:
        post(receiver.url)
        post(receiver.url)

        assert receiver.connections == 2
        assert not [request for request in receiver.requests if b"ookie" in request]


def test_ipv6_is_used_and_a_refusing_address_is_skipped(names: Names) -> None:
    with receiving(saying(response()), host="::1") as receiver:
        assert post(f"http://[::1]:{receiver.port}").status == 200
        names.say("both.example.com", ["127.0.0.1", "::1"])
        assert post(f"http://both.example.com:{receiver.port}/x").status == 200

        hosts = [request.split(b"Host: ")[1].split(b"\r\n")[0] for request in receiver.requests]
        assert hosts == [
            f"[::1]:{receiver.port}".encode(),
            f"both.example.com:{receiver.port}".encode(),
        ]


BAD_HEADERS = [
    *({"X-A": "1\r\nX-B: 2"}, {"X-A": "1\nX-B: 2"}, {"X-A": "1\r"}, {"X-A": "a\x00b"}),
    *(
        {"X-A\r\nX-B": "1"},
        {"X-A:": "1"},
        {"X A": "1"},
        {"": "1"},
        {"X-\u00c4": "1"},
        {"X-A\n": ""},
    ),
    *({"X-A": "\u00e4"}, {"X-A": "\u560a\u560d"}, {"X-A": "\x7f"}, {"X-A": "a" * 8_193}),
    *({"Host": "a"}, {"host": "a"}, {"Content-Length": "1"}, {"Transfer-Encoding": "chunked"}),
    *({"Connection": "keep-alive"}, {"Expect": "100-continue"}, {"Upgrade": "h2c"}, {"TE": "x"}),
    {"Proxy-Authorization": "x"},
]


@pytest.mark.parametrize("headers", BAD_HEADERS, ids=ascii)
def test_a_header_that_would_change_the_request_is_not_sent(headers: dict[str, str]) -> None:
    assert not can_be_sent(headers)

    with receiving(saying(response())) as receiver:
        assert kind_of(receiver.url, headers=headers) == "protocol"
        assert receiver.connections == 0


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-A": "1", "x-a": "2"}},
        {"headers": {f"X-{number}": "" for number in range(65)}},
    ],
    ids=["twice", "too many"],
)
def test_duplicate_or_too_many_headers_are_not_sent(options: dict[str, Any]) -> None:
    with receiving(saying(response())) as receiver:
        assert kind_of(receiver.url, **options) == "protocol"
        assert receiver.connections == 0


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "POST / HTTP/1.1\r\nX: y", ""])
def test_an_unknown_method_is_not_sent(method: str) -> None:
    with receiving(saying(response())) as receiver:
        with pytest.raises(outbound.RequestFailed):
            outbound.send(method, receiver.url, headers={})
        assert receiver.connections == 0


def test_a_header_of_printable_characters_can_be_sent() -> None:
    assert can_be_sent({"X-Token": "Bearer a.b-c_d~e/f+g= \t!\"#$%&'()*,:;<>?@[\\]^`{|}"})
    assert can_be_sent({"Authorization": "", "X" * 256: "a" * 8_192})
    assert not can_be_sent({"X" * 257: ""})


# ---- Answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [200, 201, 299, 301, 302, 307, 308, 400, 410, 429, 500, 599, 999]
)
def test_every_status_is_an_answer_and_no_redirect_is_followed(status: int) -> None:
    with receiving(saying(response())) as elsewhere:
        answer = response(
            status=f"{status} Said", headers=f"Location: {elsewhere.url}\r\nRetry-After: 7\r\n"
        )
        with receiving(saying(answer)) as receiver:
            reply = post(receiver.url)
            assert receiver.connections == 1

        assert (reply.status, reply.headers["retry-after"]) == (status, "7")
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 3 + b"HTTP/1.1 202 Ok\r\n\r\n", 202),
        (b"HTTP/1.0 200 OK\r\n\r\n", 200),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 200),
    ],
    ids=["204", "304", "100", "103", "1.0", "no reason", "bare newlines"],
)
def test_an_answer_without_a_body_has_an_empty_body(answer: bytes, status: int) -> None:
    with receiving(saying(answer)) as receiver:
        reply = post(receiver.url)

    assert (reply.status, reply.body) == (status, b"")


def test_an_answer_to_head_has_no_body_whatever_its_length() -> None:
    with receiving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as receiver:
        reply = outbound.send("HEAD", receiver.url, headers={}, timeout=LATE)

    assert (reply.status, reply.body) == (200, b"")


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (response(b"x" * 10), b"x" * 10),
        (response(b"x" * 16), b"x" * 16),
        (response(b"x" * 17), b"x" * 16),
        (chunked(b"abc", b"defg"), b"abcdefg"),
        (chunked(*[b"y"] * 40), b"y" * 16),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the very end", b"until the very e"),
    ],
    ids=["short", "exact", "long", "chunked", "long chunked", "closed", "long closed"],
)
def test_a_body_is_read_up_to_the_maximum(answer: bytes, body: bytes) -> None:
    with receiving(saying(answer)) as receiver:
        reply = post(receiver.url, most=16)

    assert reply.body == body


@pytest.mark.parametrize("most", [0, 1, 1_024])
def test_an_endless_body_is_read_up_to_the_maximum(most: int) -> None:
    sent = itertools.count()

    def flood(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"z" * 65_536)
            next(sent)

    with receiving(flood) as receiver:
        reply = post(receiver.url, most=most, timeout=LATE)

    assert reply.body == b"z" * most


def test_a_compressed_body_is_not_decompressed() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    with receiving(saying(response(bomb, headers="Content-Encoding: gzip\r\n"))) as receiver:
        reply = post(receiver.url)

    assert reply.headers["content-encoding"] == "gzip"
    assert reply.body == bomb[:1_024]


def test_answer_headers_are_joined_without_control_characters() -> None:
    head = "X-A: one\r\n two\r\nX-B: a\x01\x1b[2Jb\r\nX-C: 1\r\nx-c: 2\r\nX-D: \xe4\r\n"
    answer = f"HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n".encode("latin-1")
    with receiving(saying(answer)) as receiver:
        headers = post(receiver.url).headers

    assert headers["x-a"].split() == ["one", "two"]
    assert headers["x-b"] == "a  [2Jb"
    assert headers["x-c"] == "1, 2"
    assert all(value.isprintable() for value in headers.values())


def test_an_answer_before_the_body_was_read_is_returned() -> None:
    """The receiver closes with most of the body unread, so sending fails before reading."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(1_000)
                accepted.sendall(response(status="413 Too Large"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert post(url, b"x" * 20_000_000, timeout=60).status == 413
        thread.join(10)


# ---- Failures -------------------------------------------------------------------------


def reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN: dict[str, tuple[Answer, set[str]]] = {
    "garbage": (saying(b"\x00\xff\x13 nonsense\r\n\r\n" * 9), {"protocol"}),
    "another protocol": (saying(b"SSH-2.0-OpenSSH_9.6\r\n"), {"protocol"}),
    "no status": (saying(b"HTTP/1.1 \r\n\r\n"), {"protocol"}),
    "a status in words": (saying(b"HTTP/1.1 fine\r\n\r\n"), {"protocol"}),
    "a status of four digits": (saying(b"HTTP/1.1 2000 OK\r\n\r\n"), {"protocol"}),
    "a negative status": (saying(b"HTTP/1.1 -20 OK\r\n\r\n"), {"protocol"}),
    "another version": (saying(b"HTTP/3.0 200 OK\r\n\r\n"), {"protocol"}),
    "an endless first line": (saying(b"HTTP/1.1" + b" " * 100_000), {"protocol"}),
    "a cut status": (saying(b"HTTP/1.1 20"), {"protocol"}),
    "too much head": (saying(b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000), {"protocol"}),
    "nothing": (saying(), {"connection"}),
    "a reset": (reset, {"connection"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_raises_the_matching_kind(name: str) -> None:
    answer, kinds = BROKEN[name]
    with receiving(answer) as receiver:
        begun = time.monotonic()
        assert kind_of(receiver.url, timeout=LATE) in kinds
        assert time.monotonic() - begun < LATE
        assert receiver.connections == 1  # and nothing is retried


def test_a_closed_port_raises_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert kind_of(f"http://127.0.0.1:{taken.getsockname()[1]}") == "refused"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=200)
    | st.builds(lambda tail: HEAD + tail, st.binary(max_size=200))
    | st.builds(
        lambda name, value: HEAD + name + b": " + value + b"\r\n\r\nabc",
        st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Content-Type", b"Connection"]),
        st.binary(max_size=30),
    )
)
def test_any_answer_is_a_reply_or_a_request_failed(answer: bytes) -> None:
    with receiving(saying(answer)) as receiver:
        try:
            reply = post(receiver.url, timeout=LATE)
        except outbound.RequestFailed:
            return
    assert 200 <= reply.status <= 999
    assert len(reply.body) <= 1_024


# ---- The deadline ------------------------------------------------------------------------------


def trickle(data: bytes) -> Answer:
    """Send a byte at a time: each within the timeout, all of them never."""

    def answer(connection: socket.socket, _: bytes) -> None:
        for byte in itertools.chain(data, itertools.repeat(ord("a"))):
            connection.sendall(bytes([byte]))
            time.sleep(SHORT / 8)

    return answer


def silent(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


SLOW: dict[str, Answer] = {
    "never answers": silent,
    "trickles the status": trickle(b""),
    "trickles a status line": trickle(b"HTTP/1."),
    "interim answers": trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
}


@pytest.mark.parametrize("name", SLOW)
def test_the_deadline_covers_every_part_of_a_request(name: str) -> None:
    with receiving(SLOW[name]) as receiver:
        begun = time.monotonic()
        assert kind_of(receiver.url, timeout=SHORT) == "timeout"
        assert SHORT <= time.monotonic() - begun < SOON


def test_a_receiver_that_reads_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert kind_of(url, body=b"x" * 50_000_000, timeout=SHORT) == "timeout"
        assert SHORT <= time.monotonic() - begun < SOON


def test_a_silent_address_leaves_time_for_the_next(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address neither accepts nor refuses, like a firewall that drops packets."""
    connect = socket.socket.connect
    shares = []

    def dial(self: socket.socket, address: Any) -> None:
        if address[0] == "127.0.0.9":
            shares.append(self.gettimeout())
            raise TimeoutError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", dial)
    names.say("half.example.com", ["127.0.0.9", "127.0.0.1"])
    with receiving(saying(response())) as receiver:
        assert post(f"http://half.example.com:{receiver.port}", timeout=LATE).status == 200

    assert shares == [pytest.approx(LATE / 2, rel=0.2)]


# ---- Parallel requests -------------------------------------------------------------------------


def test_ten_parallel_requests_wait_in_parallel_and_share_nothing() -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        time.sleep(0.2)
        connection.sendall(response(request.partition(b"\r\n\r\n")[2]))

    with receiving(echo) as receiver, ThreadPoolExecutor(10) as pool:
        bodies = [b"%d" % number for number in range(40)]
        begun = time.monotonic()
        replies = list(pool.map(lambda body: post(receiver.url, body, timeout=60), bodies))
        took = time.monotonic() - begun

    assert [reply.body for reply in replies] == bodies
    assert took < 40 * 0.2 * 3 / 4


def test_every_socket_is_closed_however_a_request_ends() -> None:
    before = open_sockets()
    results: list[outbound.RequestFailed | Reply] = []
    for answer, _ in BROKEN.values():
        with receiving(answer) as receiver:
            try:
                results.append(post(receiver.url, timeout=LATE))
            except outbound.RequestFailed as failed:
                results.append(failed)  # with its traceback, as a caller may store it
    with receiving(trickle(b"")) as receiver:
        for _ in range(3):
            kind_of(receiver.url, timeout=0.05)
    with receiving(saying(response(b"x" * 5_000))) as receiver:
        results.append(post(receiver.url))

    assert open_sockets() == before
    assert len(results) == len(BROKEN) + 1
