"""The tests' own receiver, seen by a real client."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from support.actors.certificates import self_signed
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Answer, Close, Hold, Raw, Received

# Far below any timeout of a test, and long enough to be measured.
SOON = 0.3


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as up:
        yield up


def post(url: str, body: bytes = b"{}", **more: object) -> httpx.Response:
    return httpx.post(url, content=body, trust_env=False, **{"timeout": 30, **more})


def test_a_request_is_recorded_as_it_was_sent(receiver: Receiver) -> None:
    body = bytes(range(256)) * 1_024
    before = time.time()
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=30)
    connection.putrequest("PUT", "/a%20b?c=d", skip_host=True, skip_accept_encoding=True)
    sent = [("Host", "x.example"), ("B", "1"), ("a", "2"), ("b", "3"), ("Content-Length", "262144")]
    for name, value in sent:
        connection.putheader(name, value)
    connection.endheaders(body)
    assert connection.getresponse().status == 204
    connection.close()

    (recorded,) = receiver.requests()
    assert (recorded.method, recorded.path, recorded.body) == ("PUT", "/a%20b?c=d", body)
    assert recorded.headers == tuple(sent)
    assert recorded.all("B") == ["1", "3"]
    assert recorded.header("A") == "2"
    with pytest.raises(ValueError, match="too many values"):
        recorded.header("b")
    assert before <= recorded.at <= time.time()


def test_requests_are_separated_by_path_without_the_query(receiver: Receiver) -> None:
    for path in ("/one", "/two", "/one?again"):
        post(receiver.url(path))

    assert [one.path for one in receiver.requests("/one")] == ["/one", "/one?again"]
    assert len(receiver.requests()) == 3
    assert receiver.connections == 3


def test_an_incomplete_request_is_not_recorded(receiver: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=30) as line:
        line.sendall(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1) == b""

    assert receiver.requests() == []


def test_wait_for_returns_when_enough_requests_have_come(receiver: Receiver) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(receiver.wait_for, 3, path="/hook")
        for path in ("/hook", "/other", "/hook"):
            post(receiver.url(path))
        assert not waiting.done()
        post(receiver.url())

        assert [one.path for one in waiting.result(30)] == ["/hook"] * 3


def test_wait_for_fails_after_its_timeout_and_lists_the_requests(receiver: Receiver) -> None:
    post(receiver.url("/came"))

    with pytest.raises(AssertionError, match=r"1 of 2 requests .* POST /came"):
        receiver.wait_for(2, 0.01)
    with pytest.raises(AssertionError, match=r"0 of 1 requests .* none"):
        receiver.wait_for(1, 0.01, path="/hook")


def test_stays_at_fails_at_once_when_there_are_too_many_requests(receiver: Receiver) -> None:
    post(receiver.url())
    receiver.stays_at(1, 0.01)
    post(receiver.url())

    began = time.monotonic()
    with pytest.raises(AssertionError, match="2 requests, not 1"):
        receiver.stays_at(1, 30)
    assert time.monotonic() - began < 15
    with pytest.raises(AssertionError, match="2 requests, not 3"):
        receiver.stays_at(3, 0.01)


def test_answers_are_sent_in_order_and_the_last_one_repeats(receiver: Receiver) -> None:
    receiver.on(
        "/hook",
        Answer(500, body=b"no"),
        Answer(503, {"Retry-After": "7"}),
        Answer(302, {"Location": receiver.url("/elsewhere")}),
        Answer(200, body=b"yes"),
    )
    answers = [post(receiver.url()) for _ in range(5)]

    assert [one.status_code for one in answers] == [500, 503, 302, 200, 200]
    assert [one.content for one in answers] == [b"no", b"", b"", b"yes", b"yes"]
    assert answers[1].headers["Retry-After"] == "7"
    assert answers[2].headers["Location"] == receiver.url("/elsewhere")
    assert post(receiver.url("/elsewhere")).status_code == 204


def test_an_answer_can_be_a_function_of_the_request(receiver: Receiver) -> None:
    def by_body(received: Received) -> Answer:
        return Answer(200, body=received.body[::-1])

    receiver.on("/hook", Answer(500), by_body)
    post(receiver.url())

    assert post(receiver.url(), b"abc").content == b"cba"
    assert post(receiver.url(), b"def").content == b"fed"


def test_a_connection_can_carry_many_requests(receiver: Receiver) -> None:
    receiver.on(
        "/hook", Answer(200, body=b"x"), Answer(204), Answer(304), Answer(200, size=100_000)
    )
    with httpx.Client(trust_env=False, timeout=30) as client:
        sizes = [len(client.post(receiver.url()).content) for _ in range(4)]
        assert client.head(receiver.url()).headers["Content-Length"] == "100000"
        assert client.get(receiver.url("/plain")).status_code == 204

    assert sizes == [1, 0, 0, 100_000]
    assert receiver.connections == 1


def test_a_client_need_not_read_a_huge_answer_to_its_end(receiver: Receiver) -> None:
    receiver.on("/hook", Answer(200, body=b"head", size=1 << 40))
    with httpx.stream("POST", receiver.url(), trust_env=False, timeout=30) as answer:
        assert answer.headers["Content-Length"] == str((1 << 40) + 4)
        assert next(answer.iter_raw(1_000_000)) == b"head" + b"x" * 999_996


def test_an_answer_can_be_delayed(receiver: Receiver) -> None:
    receiver.on("/hook", Answer(200, delay=SOON))
    began = time.monotonic()

    assert post(receiver.url()).status_code == 200
    assert time.monotonic() - began >= SOON


@pytest.mark.parametrize("where", ["head", "body"])
def test_an_answer_can_be_sent_byte_by_byte(receiver: Receiver, where: str) -> None:
    slow = {f"trickle_{where}": SOON / 20}
    receiver.on("/hook", Answer(200, body=b"x" * 25, **slow))
    began = time.monotonic()

    # httpx's timeout is for each read: no pause between two bytes is that long.
    assert post(receiver.url(), timeout=10).content == b"x" * 25
    assert time.monotonic() - began >= SOON


def test_a_held_request_is_answered_on_release(receiver: Receiver) -> None:
    receiver.on("/hook", Hold(Answer(201)))
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(post, receiver.url()) for _ in range(3)]
        receiver.wait_for(3)
        assert receiver.most_at_once == 3
        assert not any(one.done() for one in held)
        receiver.release()

        assert [one.result(30).status_code for one in held] == [201] * 3
    assert post(receiver.url()).status_code == 201


def test_a_client_times_out_on_a_held_request(receiver: Receiver) -> None:
    receiver.on("/hook", Hold())

    with pytest.raises(httpx.ReadTimeout):
        post(receiver.url(), timeout=SOON)
    receiver.wait_for(1)


def test_a_connection_can_be_closed_without_an_answer(receiver: Receiver) -> None:
    receiver.on("/hook", Close(), Close(reset=True), Answer(204))

    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        post(receiver.url())
    with pytest.raises(httpx.ReadError, match="reset"):
        post(receiver.url())
    assert post(receiver.url()).status_code == 204
    receiver.stays_at(3, 0.01)


@pytest.mark.parametrize(
    "data", [b"what?\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"\0" * 9]
)
def test_an_answer_can_be_bytes_that_are_not_http(receiver: Receiver, data: bytes) -> None:
    receiver.on("/hook", Raw(data))

    with pytest.raises(httpx.RemoteProtocolError):
        post(receiver.url())


def test_a_client_that_trusts_the_certificate_is_answered_over_tls(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate.file))
    trusting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with Receiver(certificate=certificate) as receiver:
        receiver.on("/hook", Answer(200, body=b"secure"), Close(), Close(reset=True))
        assert receiver.url().startswith("https://127.0.0.1:")
        assert post(receiver.url(), verify=trusting).content == b"secure"
        for _ in range(2):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                post(receiver.url(), verify=trusting)
        assert len(receiver.wait_for(3)) == 3

    assert receiver.handshakes_failed == 0


@pytest.mark.parametrize(
    ("trusted", "expired", "name", "reason"),
    [
        (False, False, "127.0.0.1", "self-signed"),
        (True, True, "127.0.0.1", "expired"),
        (True, False, "other.example", "not valid for"),
    ],
)
def test_a_bad_certificate_fails_the_handshake(
    tmp_path: Path, *, trusted: bool, expired: bool, name: str, reason: str
) -> None:
    certificate = self_signed(tmp_path, names=(name,), expired=expired)
    context = ssl.create_default_context(cafile=str(certificate.file) if trusted else None)
    with Receiver(certificate=certificate) as receiver:
        with pytest.raises(httpx.ConnectError, match=reason):
            post(receiver.url(), verify=context)
        with receiver.changed:
            assert receiver.changed.wait_for(lambda: receiver.handshakes_failed == 1, 30)
        assert receiver.requests() == []


def test_a_client_without_a_handshake_does_not_delay_others(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate.file))
    with (
        Receiver(certificate=certificate) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port), timeout=30),
    ):
        assert post(receiver.url(), verify=trusting).status_code == 204


@pytest.mark.parametrize("secure", [True, False])
def test_a_silent_receiver_accepts_and_sends_nothing(tmp_path: Path, *, secure: bool) -> None:
    certificate = self_signed(tmp_path) if secure else None
    with Receiver(certificate=certificate, silent=True) as receiver:
        with pytest.raises(httpx.TimeoutException):
            post(receiver.url(), timeout=SOON)

        assert receiver.connections == 1
        assert receiver.requests() == []


@pytest.mark.parametrize(
    "step",
    [
        Hold(),
        Answer(delay=3_600),
        Answer(200, size=1 << 40),
        Answer(200, body=b"xx", trickle_head=3_600),
        Answer(200, body=b"xx", trickle_body=3_600),
    ],
    ids=["hold", "delay", "huge", "slow head", "slow body"],
)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_closing_it_ends_each_connection_and_thread(
    tmp_path: Path, step: Answer | Hold, *, secure: bool
) -> None:
    certificate = self_signed(tmp_path) if secure else None
    before = set(threading.enumerate())
    with ExitStack() as lines:
        with Receiver(certificate=certificate) as receiver:
            receiver.on("/hook", step)
            line = socket.create_connection(("127.0.0.1", receiver.port), timeout=30)
            if certificate:
                trusting = ssl.create_default_context(cafile=str(certificate.file))
                line = trusting.wrap_socket(line, server_hostname="127.0.0.1")
            lines.enter_context(line)
            line.sendall(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            receiver.wait_for(1)
            began = time.monotonic()
        assert time.monotonic() - began < 15

        assert set(threading.enumerate()) <= before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", receiver.port), timeout=30)


def test_an_error_in_the_receiver_is_raised_when_it_closes() -> None:
    def wrong(received: Received) -> Answer:
        raise LookupError(received.path)

    def ask() -> None:
        with Receiver() as receiver:
            receiver.on("/hook", wrong)
            with pytest.raises(httpx.RemoteProtocolError):
                post(receiver.url())

    with pytest.raises(LookupError, match="/hook"):
        ask()
