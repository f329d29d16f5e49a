"""Answers that break after their status: the status decides, whatever the rest does."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.outbound import client as outbound
from gatehouse.outbound.answer import MAX_HEADERS, MAX_INTERIM, MAX_LINES, ReadAnswer, read_answer
from gatehouse.outbound.client import Reply
from gatehouse.outbound.failure import BadAnswer
from support.actors.receivers import Answer, receiving, response, saying

SHORT = 0.4
SOON = 4.0
LATE = 8.0


@pytest.fixture(autouse=True, scope="module")
def _local() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEHOUSE_OUTBOUND", "local")
        yield


def post(url: str, **options: Any) -> Reply:
    return outbound.send("POST", url, headers={"X-Try": "1"}, body=b"{}", **options)


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "")).encode()


def reset_after(*parts: bytes) -> Callable[[str], Answer]:
    """Send a status and these parts, and reset the connection."""

    def with_status(status: str) -> Answer:
        def answer(connection: socket.socket, _: bytes) -> None:
            connection.sendall(head(status) + b"".join(parts))
            time.sleep(0.05)  # so that it is read before the reset discards it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        return answer

    return with_status


def then(*parts: bytes) -> Callable[[str], Answer]:
    return lambda status: saying(head(status), *parts)


def endless(piece: bytes) -> Callable[[str], Answer]:
    def with_status(status: str) -> Answer:
        def answer(connection: socket.socket, _: bytes) -> None:
            connection.sendall(head(status))
            while True:
                connection.sendall(piece)

        return answer

    return with_status


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = b"Content-Length: 500\r\n\r\n"
# What follows a status line, and the kind of failure that it is.
REST: dict[str, tuple[Callable[[str], Answer], str]] = {
    "headers without an end": (then(b"X: y\r\n" * 150), "protocol"),
    "too many headers": (then(b"X: y\r\n" * 300 + b"\r\n"), "protocol"),
    "endless headers": (endless(b"X: y\r\n" * 1_000), "protocol"),
    "a header line too long": (then(b"X: " + b"a" * 70_000 + b"\r\n\r\n"), "protocol"),
    "one endless header line": (endless(b"a" * 65_536), "protocol"),
    "a header without a name": (then(b"nonsense\r\nContent-Length: 0\r\n\r\n"), "protocol"),
    "bytes that are no header": (then(b"\x00\xff: \x13\r\n\r\n"), "protocol"),
    "a cut body": (then(LENGTH + b"abc"), "protocol"),
    "a body that is missing": (then(LENGTH), "protocol"),
    "a length in words": (then(b"Content-Length: five\r\n\r\nabcde"), "protocol"),
    "a negative length": (then(b"Content-Length: -5\r\n\r\nabcde"), "protocol"),
    "two lengths": (
        then(b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        "protocol",
    ),
    "a length of 20 digits": (then(b"Content-Length: " + b"9" * 20 + b"\r\n\r\nabc"), "protocol"),
    "a cut chunk": (then(CHUNKED + b"9\r\nabc"), "protocol"),
    "a chunk without its end": (then(CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n"), "protocol"),
    "a size that is no number": (then(CHUNKED + b"xyz\r\nabc\r\n"), "protocol"),
    "a negative size": (then(CHUNKED + b"-5\r\nabc\r\n"), "protocol"),
    "no last chunk": (then(CHUNKED + b"3\r\nabc\r\n"), "protocol"),
    "an endless size": (endless(b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 65_536), "protocol"),
    "endless trailers": (
        lambda status: _first(status, CHUNKED + b"0\r\n", b"X: y\r\n" * 1_000),
        "protocol",
    ),
    "a reset after the status": (reset_after(), "connection"),
    "a reset within the headers": (reset_after(b"X: y\r\nX"), "connection"),
    "a reset within the body": (reset_after(LENGTH, b"ab"), "connection"),
}


def _first(status: str, begin: bytes, piece: bytes) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head(status) + begin)
        while True:
            connection.sendall(piece)

    return answer


@pytest.mark.parametrize("name", REST)
@pytest.mark.parametrize("status", ["200 OK", "429 Slow Down"])
def test_the_status_decides_whatever_follows_it(name: str, status: str) -> None:
    answer, kind = REST[name]
    with receiving(answer(status)) as receiver:
        begun = time.monotonic()
        reply = post(receiver.url, timeout=LATE)
        assert time.monotonic() - begun < LATE
        assert receiver.connections == 1  # and nothing is retried

    assert (reply.status, reply.broken) == (int(status[:3]), kind)


def test_what_was_read_before_the_break_is_kept() -> None:
    lines = b"Retry-After: 7\r\nnonsense\r\nX-B: c\r\n"
    with receiving(saying(head("503 Busy") + lines + LENGTH + b"half")) as receiver:
        reply = post(receiver.url)

    assert reply.headers == {"retry-after": "7", "x-b": "c", "content-length": "500"}
    assert (reply.status, reply.body, reply.broken) == (503, b"half", "protocol")


def test_150_headers_and_an_endless_body_are_no_failure() -> None:
    many = "".join(f"X-{number}: y\r\n" for number in range(150))
    with receiving(saying(response(b"thanks", headers=many))) as receiver:
        reply = post(receiver.url)
    assert (reply.status, reply.body, reply.broken) == (200, b"thanks", None)
    assert len(reply.headers) == 151

    with receiving(_first("200 OK", b"\r\n", b"z" * 65_536)) as receiver:
        reply = post(receiver.url, timeout=LATE)
    assert (reply.status, reply.body, reply.broken) == (200, b"z" * 1_024, None)


# ---- The status line -----------------------------------------------------------------


@pytest.mark.parametrize("rest", [b" ", b" OK", b" " + b"a" * 100_000, b"\n", b"\r"])
def test_a_status_counts_once_something_follows_its_digits(rest: bytes) -> None:
    with receiving(saying(b"HTTP/1.1 204" + rest)) as receiver:
        reply = post(receiver.url)

    assert (reply.status, reply.broken) == (204, "protocol")


@pytest.mark.parametrize(
    "line",
    [b"HTTP/1.1 200", b"HTTP/1.1 2000 OK\r\n", b"HTTP/1.1 099 OK\r\n", b"HTTP/1.1 20 OK\r\n"],
)
def test_a_status_that_may_be_another_is_no_answer(line: bytes) -> None:
    with receiving(saying(line)) as receiver, pytest.raises(outbound.RequestFailed) as failed:
        post(receiver.url)

    assert failed.value.kind == "protocol"


# ---- Time ----------------------------------------------------------------------------


def hanging(data: bytes) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(data)
        connection.recv(1)

    return answer


def trickling(data: bytes) -> Answer:
    """Send a byte at a time: each within the timeout, all of them never."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head("200 OK"))
        for byte in itertools.chain(data, itertools.repeat(ord("a"))):
            connection.sendall(bytes([byte]))
            time.sleep(SHORT / 8)

    return answer


SLOW: dict[str, Answer] = {
    "stops within the status line": hanging(b"HTTP/1.1 200 O"),
    "stops after the status": hanging(head("200 OK")),
    "stops within the body": hanging(head("200 OK") + LENGTH + b"ab"),
    "stops within a chunk": hanging(head("200 OK") + CHUNKED + b"5\r\nab"),
    "stops before the connection's end": hanging(head("200 OK") + b"\r\nab"),
    "trickles a header": trickling(b"X-Slow: "),
    "trickles the body": trickling(LENGTH),
    "trickles a size": trickling(CHUNKED + b"ff;"),
}


@pytest.mark.parametrize("name", SLOW)
def test_the_rest_of_an_answer_ends_at_the_deadline(name: str) -> None:
    with receiving(SLOW[name]) as receiver:
        begun = time.monotonic()
        reply = post(receiver.url, timeout=SHORT)
        assert SHORT <= time.monotonic() - begun < SOON

    assert (reply.status, reply.broken) == (200, "timeout")


def test_an_answer_counts_although_the_receiver_does_not_read_the_request() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.sendall(response(b"taken"))
                done.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        reply = outbound.send("POST", url, headers={}, body=b"x" * 50_000_000, timeout=SHORT)
        done.set()
        thread.join(10)

    assert (reply.status, reply.body, reply.broken) == (200, b"taken", None)


# ---- Bounds --------------------------------------------------------------------------


def read(data: bytes, *, pieces: int = 16_384, method: str = "POST", most: int = 16) -> ReadAnswer:
    """Read an answer from these bytes, so many at a time."""
    left = bytearray(data)

    def recv(size: int) -> bytes:
        taken = bytes(left[: min(size, pieces)])
        del left[: len(taken)]
        return taken

    return read_answer(recv, method=method, most=most)


@pytest.mark.parametrize(("more", "error"), [(0, False), (1, True)])
def test_headers_are_bounded_in_number(more: int, *, error: bool) -> None:
    answer = read(head("204 No", *(["X: y"] * (MAX_HEADERS + more))) + b"\r\n")

    assert (answer.error is not None) is error
    assert answer.whole is not error


@pytest.mark.parametrize(("more", "error"), [(0, False), (1, True)])
def test_lines_are_bounded_in_bytes(more: int, *, error: bool) -> None:
    status = head("204 No")
    lines = b"X: ".ljust(MAX_LINES + more - len(status) - 4, b"a") + b"\r\n\r\n"
    answer = read(status + lines)

    assert (answer.error is not None) is error
    assert len(answer.lines) == 1


@pytest.mark.parametrize("status", [100, 102, 199])
def test_an_interim_answer_is_skipped(status: int) -> None:
    assert read(head(f"{status} Wait") + b"\r\n" + head("204 No") + b"\r\n").status == 204


def test_interim_answers_are_bounded_in_number() -> None:
    interim = b"HTTP/1.1 102 Wait\r\nX: y\r\n\r\n"
    assert read(interim * MAX_INTERIM + head("204 No") + b"\r\n").status == 204
    with pytest.raises(BadAnswer):
        read(interim * (MAX_INTERIM + 1) + head("204 No") + b"\r\n")


@pytest.mark.parametrize(
    "cut", [b"HTTP/1.1 100 ", b"HTTP/1.1 100 Wait\r\nX", b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200"]
)
def test_an_interim_answer_alone_is_no_answer(cut: bytes) -> None:
    with pytest.raises(BadAnswer):
        read(cut)
    with pytest.raises(ConnectionResetError):
        read(b"HTTP/1.1 100 Wait\r\n\r\n")


WHOLE = [
    (b"HTTP/1.1 204 No\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", b"abc"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b"a" * 16, b"a" * 16),
    (
        b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
        b"abc0123456789",
    ),
    (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"10\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n", b"a" * 16),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n", b""),
]
PARTIAL = [
    (b"HTTP/1.1 204 No\r\n\r\nmore", b""),
    (b"HTTP/1.1 101 Switching\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + b"a" * 17, b"a" * 16),
    (b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n%b" % (b"9" * 19, b"a" * 17), b"a" * 16),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", b"abc"),
    (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"11\r\n" + b"a" * 17 + b"\r\n0\r\n\r\n", b"a" * 16),
    (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\n", b""),
]


@pytest.mark.parametrize("pieces", [1, 16_384])
@pytest.mark.parametrize(("data", "body"), [*WHOLE, *PARTIAL])
def test_an_answer_is_whole_if_its_end_is_certain_and_nothing_follows(
    data: bytes, body: bytes, pieces: int
) -> None:
    answer = read(data, pieces=pieces)

    assert (bytes(answer.body), answer.error) == (body, None)
    if pieces > 1:
        assert answer.whole is ((data, body) in WHOLE)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_after_a_status_are_read_without_an_error(rest: bytes, pieces: int) -> None:
    answer = read(head("200 OK") + rest, pieces=pieces)

    assert answer.status == 200
    assert len(answer.body) <= 16
    again = read(head("200 OK") + rest, pieces=500)
    assert (again.lines, again.body) == (answer.lines, answer.body)
