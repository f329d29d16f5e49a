"""Connections that are kept: when one is used again, and when a request is sent once more."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from gatehouse.outbound import client as outbound
from gatehouse.outbound import pool as pools
from gatehouse.outbound.client import Reply, Sender
from gatehouse.outbound.exchange import IDLE, Channel
from support.actors.receivers import Answer, Names, receiving, response, saying, whole_request

LATE = 8.0
HOST = "hooks.example.com"
MANY = 1_000
OK = response(b"thanks")


@pytest.fixture(autouse=True, scope="module")
def _local() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEHOUSE_OUTBOUND", "local")
        yield


@pytest.fixture
def sender() -> Iterator[Sender]:
    one = Sender()
    yield one
    one.close()


def post(sender: Sender, url: str, body: bytes = b"{}", **options: Any) -> Reply:
    options = {"timeout": LATE, "most": 1_024, "owner": "w", **options}
    return sender.send("POST", url, headers={"X-Try": "1"}, body=body, **options)


def until(done: Any) -> None:
    deadline = time.monotonic() + LATE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- Used again ----------------------------------------------------------------------


def test_a_connection_is_used_again_and_nothing_asks_to_close_it(sender: Sender) -> None:
    with receiving(saying(OK), each=MANY) as receiver:
        bodies = [post(sender, receiver.url, b"%d" % number).body for number in range(5)]

        assert (bodies, receiver.connections) == ([b"thanks"] * 5, 1)
        assert [one[-1:] for one in receiver.requests] == [b"0", b"1", b"2", b"3", b"4"]
        assert not [one for one in receiver.requests if b"Connection:" in one]


CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
SAFE = {
    "no body": b"HTTP/1.1 204 No\r\n\r\n",
    "chunks": CHUNKED,
    "all that is kept": response(b"x" * 1_024),
    "an interim answer first": b"HTTP/1.1 102 Wait\r\n\r\n" + OK,
    "a host that says it keeps it": response(headers="Connection: Keep-Alive\r\n"),
}
UNSAFE = {
    "a wish to close": response(headers="Connection: x, Close\r\n"),
    "an upgrade": response(headers="Connection: upgrade\r\nUpgrade: h2c\r\n"),
    "a host that closes a second after": response(headers="Keep-Alive: timeout=1\r\n"),
    "version 1.0": OK.replace(b"/1.1", b"/1.0"),
    "version 1.0 that keeps it": response(headers="Connection: keep-alive\r\n").replace(
        b"/1.1", b"/1.0"
    ),
    "a rest that was not read": response(b"x" * 1_025),
    "chunks that were not read": CHUNKED.replace(b"3\r\nabc", b"401\r\n" + b"x" * 1_025),
    "more than an answer": OK + b"HTTP/1.1 500 Never\r\n\r\n",
    "two lengths": response(headers="Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    "a header without a name": response(headers="nonsense\r\n"),
    "a refusal": response(status="400 Bad"),
    "a redirect": response(status="302 Found"),
    "an error": response(status="503 Busy"),
}


@pytest.mark.parametrize("name", [*SAFE, *UNSAFE])
def test_only_a_connection_whose_answer_was_read_whole_is_used_again(
    name: str, sender: Sender
) -> None:
    answer = (SAFE | UNSAFE)[name]
    with receiving(saying(answer), each=MANY) as receiver:
        statuses = {post(sender, receiver.url).status for _ in range(2)}

        assert len(statuses) == 1
        assert receiver.connections == (1 if name in SAFE else 2)


def test_a_connection_serves_one_owner_and_one_origin(sender: Sender, names: Names) -> None:
    names.say(HOST, ["127.0.0.1"])
    names.say("other.example.com", ["127.0.0.1"])
    with (
        receiving(saying(OK), each=MANY) as receiver,
        receiving(saying(OK), each=MANY) as beside,
    ):
        calls = [
            (f"http://{HOST}:{receiver.port}/a", "w"),
            (f"http://{HOST}:{receiver.port}/a", "v"),
            (f"http://other.example.com:{receiver.port}/a", "w"),
            (f"http://127.0.0.1:{receiver.port}/a", "w"),
            (f"http://{HOST}:{beside.port}/a", "w"),
        ]
        for url, owner in calls:
            post(sender, url, owner=owner)
        assert (receiver.connections, beside.connections) == (4, 1)

        for url, owner in calls:
            post(sender, url.replace("/a", "/b"), owner=owner)
        assert (receiver.connections, beside.connections) == (4, 1)


def test_each_use_is_of_an_address_that_was_just_checked(sender: Sender, names: Names) -> None:
    names.say(
        HOST,
        ["127.0.0.1"],
        ["127.0.0.2", "127.0.0.1"],  # still one of its addresses
        ["127.0.0.2"],
        ["127.0.0.1", "10.0.0.1"],
        ["127.0.0.1"],
    )
    with receiving(saying(OK), host="0.0.0.0", each=MANY) as receiver:  # noqa: S104
        url = f"http://{HOST}:{receiver.port}/"
        post(sender, url)
        post(sender, url)
        assert receiver.connections == 1
        post(sender, url)
        assert receiver.connections == 2
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, url)
        assert failed.value.kind == "address"
        post(sender, url)
        assert receiver.connections == 2
        assert len(names.asked) == 5


def test_a_url_that_became_forbidden_is_not_called_over_a_kept_connection(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(saying(OK), each=MANY) as receiver:
        post(sender, receiver.url)
        monkeypatch.setenv("GATEHOUSE_OWN_HOSTS", f"localhost:{receiver.port}")
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, receiver.url)
        assert (failed.value.kind, len(receiver.requests)) == ("address", 1)


# ---- Closed by the host --------------------------------------------------------------


def test_a_connection_that_the_host_closed_is_not_used(sender: Sender) -> None:
    with receiving(saying(OK)) as receiver:
        for number in range(1, 4):
            assert post(sender, receiver.url).status == 200
            assert receiver.connections == number
            time.sleep(0.05)  # the host's end arrives


def test_a_connection_on_which_the_host_speaks_unasked_is_not_used(sender: Sender) -> None:
    later = threading.Event()

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(OK)
        later.wait(LATE)
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 500 Never\r\n\r\n")
            connection.recv(1)

    with receiving(answer, each=MANY) as receiver:
        post(sender, receiver.url)
        later.set()
        time.sleep(0.05)
        assert (post(sender, receiver.url).status, receiver.connections) == (200, 2)


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a kept connection arrives a moment after the look at it."""
    monkeypatch.setattr(Channel, "is_quiet", True)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize("size", [2, 200_000])
def test_a_request_that_met_a_closed_connection_is_sent_again(sender: Sender, size: int) -> None:
    with receiving(saying(OK)) as receiver:
        post(sender, receiver.url)
        time.sleep(0.05)
        reply = post(sender, receiver.url, b"x" * size)

        assert (reply.status, receiver.connections, len(receiver.requests)) == (200, 2, 2)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def taking_the_second(end: Any) -> Answer:
    """Answer the first request of a connection; read the second and end without an answer."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(OK)
        if whole_request(connection):
            end(connection)

    return answer


@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_a_request_that_may_have_been_taken_is_not_sent_again(sender: Sender, end: Any) -> None:
    with receiving(taking_the_second(end)) as receiver:
        post(sender, receiver.url)
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, receiver.url)
        assert (failed.value.kind, receiver.connections) == ("connection", 1)

        for number in (2, 3):  # from now on this host gets a new connection for each request
            assert (post(sender, receiver.url).status, receiver.connections) == (200, number)


def test_a_request_of_which_a_part_arrived_is_not_sent_again(sender: Sender) -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(OK)
        assert connection.recv(1)
        connection.shutdown(socket.SHUT_RDWR)

    with receiving(answer) as receiver:
        post(sender, receiver.url)
        with pytest.raises(outbound.RequestFailed):
            post(sender, receiver.url, b"x" * 1_000_000)
        assert receiver.connections == 1


@pytest.mark.usefixtures("unseen")
def test_without_knowledge_of_what_arrived_nothing_is_sent_again(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "TCP_INFO")
    with receiving(saying(OK)) as receiver:
        post(sender, receiver.url)
        time.sleep(0.05)
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, receiver.url)
        assert (failed.value.kind, receiver.connections) == ("connection", 1)


def test_a_new_connection_that_is_closed_at_once_is_not_tried_twice(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(server.accept()[0])
                    accepted[-1].shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, f"http://127.0.0.1:{server.getsockname()[1]}/")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(LATE)
        for one in accepted:
            one.close()

    assert (failed.value.kind, len(accepted)) == ("connection", 1)


def test_a_host_that_misreads_a_second_request_gets_new_connections(sender: Sender) -> None:
    """It answers without reading the body, and takes the body for the next request."""

    def serve(connection: socket.socket, _: bytes) -> None:
        connection.sendall(OK)
        if connection.recv(65_536):
            connection.sendall(response(status="501 Unsupported method"))

    with receiving(serve) as receiver:
        statuses = [post(sender, receiver.url).status for _ in range(5)]

    assert statuses == [200, 501, 200, 200, 200]


def test_a_silent_host_is_waited_for_once(sender: Sender) -> None:
    with receiving(taking_the_second(lambda connection: connection.recv(1))) as receiver:
        post(sender, receiver.url)
        begun = time.monotonic()
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, receiver.url, timeout=0.4)
        assert (failed.value.kind, receiver.connections) == ("timeout", 1)
        assert 0.4 <= time.monotonic() - begun < LATE / 2


# ---- Bounds --------------------------------------------------------------------------


class Clock:
    """Both clocks of the pool; they move when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic_now = 1_000.0
        self.wall_now = 5_000.0
        monkeypatch.setattr(pools, "time", self)

    def monotonic(self) -> float:
        return self.monotonic_now

    def time(self) -> float:
        return self.wall_now


class Kept:
    """What a pool keeps, without a host."""

    def __init__(self, address: str = "127.0.0.1", *, born: float = 1_000.0) -> None:
        self.wire = type("W", (), {"address": address})
        self.born = born
        self.is_quiet = True
        self.closed = False

    def close(self) -> None:
        self.closed = True


ROUTE = pools.Route("w", "https", HOST, 443)


@pytest.mark.parametrize(
    ("monotonic", "wall", "kept"),
    [(3.99, 3.99, True), (4.0, 0.0, False), (0.0, 4.0, False), (0.0, 3_600.0, False)],
)
def test_a_connection_idles_four_seconds_on_either_clock(
    monotonic: float, wall: float, *, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, pool, one = Clock(monkeypatch), pools.Pool(), Kept()
    pool.put(ROUTE, one, idle=IDLE)  # type: ignore[arg-type]
    clock.monotonic_now += monotonic
    clock.wall_now += wall

    found = pool.take(ROUTE, ["127.0.0.1"])  # type: ignore[list-item]

    assert (found is one, one.closed) == (kept, not kept)


def test_a_connection_lives_a_minute_however_busy_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pool, one = Clock(monkeypatch), pools.Pool(), Kept()
    for _ in range(20):
        pool.put(ROUTE, one, idle=IDLE)  # type: ignore[arg-type]
        assert not one.closed
        clock.monotonic_now += 3
        if clock.monotonic_now < 1_060:
            assert pool.take(ROUTE, ["127.0.0.1"]) is one  # type: ignore[list-item]
    assert pool.take(ROUTE, ["127.0.0.1"]) is None  # type: ignore[list-item]
    assert one.closed

    old = Kept(born=clock.monotonic_now - 60)
    pool.put(ROUTE, old, idle=IDLE)  # type: ignore[arg-type]
    assert old.closed


def test_a_pool_is_bounded_in_all_and_for_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    pool = pools.Pool()
    of_one = [Kept() for _ in range(pools.MOST_OF_ONE + 1)]
    for one in of_one:
        pool.put(ROUTE, one, idle=IDLE)  # type: ignore[arg-type]
    assert [one.closed for one in of_one] == [False] * pools.MOST_OF_ONE + [True]

    others = [Kept() for _ in range(pools.MOST)]
    for number, one in enumerate(others):
        pool.put(pools.Route(str(number), "https", HOST, 443), one, idle=IDLE)  # type: ignore[arg-type]
    assert all(one.closed for one in of_one)
    assert not any(one.closed for one in others)
    del pool
    assert all(one.closed for one in others)


def test_a_distrusted_place_keeps_none_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pool = Clock(monkeypatch), pools.Pool()
    kept = [Kept() for _ in range(4)]
    pool.put(ROUTE, kept[0], idle=IDLE)  # type: ignore[arg-type]
    pool.distrust(ROUTE)
    clock.monotonic_now += 599
    pool.put(ROUTE, kept[1], idle=IDLE)  # type: ignore[arg-type]
    clock.monotonic_now += 1
    kept[2].born = clock.monotonic_now
    pool.put(ROUTE, kept[2], idle=IDLE)  # type: ignore[arg-type]
    assert [one.closed for one in kept] == [True, True, False, False]

    for number in range(1_001):
        pool.distrust(pools.Route(str(number), "https", HOST, 443))
    kept[3].born = clock.monotonic_now
    pool.put(pools.Route("0", "https", HOST, 443), kept[3], idle=IDLE)  # type: ignore[arg-type]
    assert not kept[3].closed


@pytest.mark.parametrize(("said", "idle"), [("5", 4.0), ("4", 3.0), ("2, max=9", 1.0), ("99", 4.0)])
def test_a_host_that_closes_sooner_is_believed(
    said: str, idle: float, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[float] = []
    put = pools.Pool.put

    def noted(self: pools.Pool, route: pools.Route, channel: Channel, *, idle: float) -> None:
        kept.append(idle)
        put(self, route, channel, idle=idle)

    monkeypatch.setattr(pools.Pool, "put", noted)
    answer = saying(response(headers=f"Keep-Alive: timeout={said}\r\n"))
    with receiving(answer, each=MANY) as receiver:
        post(sender, receiver.url)

    assert kept == [idle]


def test_every_request_of_a_connection_has_its_own_limits(sender: Sender) -> None:
    answer = response(b"y" * 1_024, headers=f"X-Long: {'z' * 60_000}\r\n")
    with receiving(saying(answer), each=MANY) as receiver:
        for _ in range(8):  # more together than one answer may have
            assert post(sender, receiver.url, timeout=2.0).broken is None
        assert receiver.connections == 1


def test_threads_share_connections_and_no_answer_is_mixed_up(sender: Sender) -> None:
    def echo(connection: socket.socket, request: bytes) -> None:
        connection.sendall(response(request.partition(b"\r\n\r\n")[2]))

    with receiving(echo, each=MANY) as receiver, ThreadPoolExecutor(10) as threads:
        bodies = [b"%d" % number for number in range(400)]
        replies = list(threads.map(lambda body: post(sender, receiver.url, body), bodies))

        assert [reply.body for reply in replies] == bodies
        assert receiver.connections <= 10
