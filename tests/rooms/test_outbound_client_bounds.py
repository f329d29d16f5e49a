"""Requests out: the waits, error kinds and messages of the client, and its own hosts' ports."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.outbound import client, resolver, urls, wire
from gatehouse.outbound.addresses import Unfit
from gatehouse.outbound.exchange import Channel, Reply, Request, exchange
from gatehouse.outbound.failure import BadAnswer, RequestFailed

# ---- Before anything is sent -------------------------------------------------------------------


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float | None]]:
    """Resolve no name; return how many seconds each thread was waited for, at a held clock."""
    waits: list[float | None] = []
    resolved = threading.Event()
    monkeypatch.setattr(wire.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved.wait(10) and [])
    monkeypatch.setattr(threading.Thread, "join", lambda _, timeout=None: waits.append(timeout))
    yield waits
    resolved.set()


def test_a_check_of_a_host_waits_five_seconds_for_its_name(joined: list[float | None]) -> None:
    with pytest.raises(BadInput) as refused:
        client.check_host("https://a.example")
    assert joined == [5.0]
    assert refused.value.message == "url must name a host that can be resolved"
    assert refused.value.details == {"field": "url"}


@pytest.mark.parametrize(("ends_at", "wait"), [(100.5, 0.5), (100.0, 0.0), (99.0, 0.0)])
def test_a_name_is_waited_for_until_the_deadline(
    joined: list[float | None], ends_at: float, wait: float
) -> None:
    with pytest.raises(RequestFailed) as failed:
        resolver.addresses_of(urls.allowed("https://a.example"), own=(), ends_at=ends_at)
    assert failed.value.kind == "timeout"
    assert joined == [wait]


def test_a_check_of_a_host_names_the_field_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.1", 443))])
    with pytest.raises(BadInput) as private:
        client.check_host("https://a.example", field="hook")
    with pytest.raises(BadInput) as unfit:
        client.check_host("https://user@a.example", field="hook")
    assert (private.value.message, private.value.details) == (
        "hook must not lead to a private, reserved or own address",
        {"field": "hook"},
    )
    assert (unfit.value.message, unfit.value.details) == (
        "hook must not carry credentials",
        {"field": "hook"},
    )


@pytest.mark.parametrize("own", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080"])
def test_a_port_of_this_api_on_loopback_is_not_called(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    for url in ("http://127.0.0.2:8080", "http://[::1]:8080"):
        with pytest.raises(Unfit):
            urls.allowed(url, own=(own,))
    assert urls.allowed("http://127.0.0.2:8081", own=(own,)).port == 8081
    assert urls.allowed("http://127.0.0.2:8079", own=(own,)).port == 8079


def test_own_hosts_elsewhere_do_not_refuse_ports_of_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    own = ("a.example:8080", "8.8.8.8:8080")
    assert urls.allowed("http://127.0.0.1:8080", own=own).port == 8080


def test_an_own_host_without_a_port_stands_for_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    for url in ("http://127.0.0.1:8080", "http://127.0.0.1:1024", "http://localhost:9000"):
        with pytest.raises(Unfit):
            urls.allowed(url, own=("localhost",))


# ---- The request -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (ssl.SSLError(), "tls"),
        (ssl.SSLCertVerificationError(), "tls"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "connection"),
        (OSError(), "connection"),
        (BadAnswer(), "protocol"),
    ],
)
def test_each_error_of_a_request_has_its_kind(
    error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(wire.Wire, "connect", lambda *_: None)
    monkeypatch.setattr(wire.Wire, "sendall", fail)
    with pytest.raises(RequestFailed) as failed:
        client.send("GET", "https://8.8.8.8", headers={})
    assert failed.value.kind == kind
    assert failed.value.__cause__ is error


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authorization"),
        *("Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"),
    ],
)
def test_a_header_of_the_connection_is_refused_with_its_sentence(name: str) -> None:
    with pytest.raises(RequestFailed) as failed:
        client.send("GET", "https://8.8.8.8", headers={name: "a"})
    assert failed.value.kind == "protocol"
    assert str(failed.value) == "The request's method or headers cannot be sent."


def test_an_address_whose_family_the_machine_lacks_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OnlyIPv4(wire.Wire):
        def __init__(self, family: int) -> None:
            if family == socket.AF_INET6:
                raise OSError("Address family not supported by protocol")
            super().__init__(family)

    monkeypatch.setattr(wire, "Wire", OnlyIPv4)
    hosts = [urls.host_of(text)[1] for text in ("[2606:4700::1]", "127.0.0.1")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with wire.dial(hosts, port, ends_at=float("1e9")) as one:
            assert one.getpeername() == ("127.0.0.1", port)


def test_a_dialled_connection_sends_small_writes_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with wire.dial([urls.host_of("127.0.0.1")[1]], port, ends_at=float("1e9")) as one:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            assert one.ends_at == float("1e9")


def _exchanged(method: str, answer: bytes, *, most: int, body: bytes = b"") -> tuple[Reply, bytes]:
    """Return a reply to a request over a pair of sockets, and the bytes of the request."""
    ours, theirs = socket.socketpair()
    with ours, theirs, wire.Wire(fileno=ours.detach()) as one:
        one.ends_at, one.allowance = float("1e9"), 10_000
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        target = urls.allowed("http://127.0.0.1:9000/in?a=b")
        request = Request(method, target, {"X-A": "1"}, body, most)
        reply, idle = exchange(Channel(one, target), request)
        assert idle == 0
        return reply, theirs.recv(10_000)


@pytest.mark.parametrize(("most", "body"), [(0, b""), (3, b"abc"), (4, b"abcd"), (5, b"abcd")])
def test_an_exchange_reads_at_most_the_bytes_that_are_asked_for(
    most: int, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    answer = b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\nabcd"
    reply, sent = _exchanged("GET", answer, most=most)
    assert reply == Reply(200, {"a": "b", "content-length": "4"}, body)
    framing = b"Host: 127.0.0.1:9000\r\nConnection: close\r\nAccept-Encoding: identity\r\n"
    assert sent == b"GET /in?a=b HTTP/1.1\r\n" + framing + b"X-A: 1\r\n\r\n"


def test_a_body_that_ends_early_is_kept_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd"
    reply, _ = _exchanged("GET", answer, most=100)
    assert reply == Reply(200, {"content-length": "5"}, b"abcd", broken="protocol")


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        ("GET", b"", None),
        ("DELETE", b"", None),
        ("POST", b"", b"0"),
        ("PUT", b"", b"0"),
        ("PATCH", b"", b"0"),
        ("DELETE", b"x", b"1"),
    ],
)
def test_an_exchange_states_the_length_of_its_body(
    method: str, body: bytes, length: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    _, sent = _exchanged(method, b"HTTP/1.1 204 No\r\n\r\n", most=10, body=body)
    assert (b"Content-Length: %b\r\n" % (length or b"")) in sent or length is None
    assert (b"Content-Length" in sent) == (length is not None)
    assert sent.endswith(b"\r\n\r\n" + body)
