"""TLS to real receivers on loopback: which certificates are valid, and deadlines."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatehouse.outbound import client as outbound
from gatehouse.outbound import exchange
from gatehouse.outbound.client import Reply
from support.actors.receivers import Names, receiving, response, saying

SHORT = 0.4
SOON = 4.0
LATE = 8.0
HOST = "hooks.example.com"
DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority, and server contexts with its certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._built(self.name, self.key).add_extension(constraints, critical=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(self._signed(certificate))

    def server(self, *names: str, ends: dt.timedelta = DAY) -> ssl.SSLContext:
        """Create a server context with a certificate for these names; `ends` is from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
        certificate = self._built(subject, key, ends=ends).add_extension(
            x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
        )
        file = self.folder / "server.pem"
        file.write_bytes(
            self._signed(certificate)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _built(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ends: dt.timedelta = DAY
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + ends)
        )

    def _signed(self, certificate: x509.CertificateBuilder) -> bytes:
        signed = certificate.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that is not trusted."""
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """The authority, trusted like the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    exchange._trust.cache_clear()  # noqa: SLF001 - it is read once in a process
    yield authority
    exchange._trust.cache_clear()  # noqa: SLF001


@pytest.fixture(autouse=True)
def _loopback(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    names.say(HOST, ["127.0.0.1"])


def get(port: int, *, host: str = HOST, **options: Any) -> Reply:
    return outbound.send("GET", f"https://{host}:{port}/", headers={}, timeout=LATE, **options)


def kind_of(port: int, *, timeout: float = LATE, host: str = HOST) -> str:
    with pytest.raises(outbound.RequestFailed) as failed:
        outbound.send("GET", f"https://{host}:{port}/", headers={}, timeout=timeout)
    return failed.value.kind


def test_a_valid_certificate_for_the_host_name_is_accepted(trusted: Authority) -> None:
    context = trusted.server(HOST)
    asked: list[str | None] = []

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        asked.append(name)

    context.sni_callback = note
    with receiving(saying(response(b"x" * 4_000)), tls=context) as receiver:
        reply = get(receiver.port, most=100)
        port = str(receiver.port).encode()

        assert (reply.status, reply.body) == (200, b"x" * 100)
        assert asked == [HOST]
        assert b"Host: hooks.example.com:" + port in receiver.requests[0]


def test_a_certificate_for_an_ip_address_is_accepted(trusted: Authority) -> None:
    with receiving(saying(response()), tls=trusted.server("127.0.0.1")) as receiver:
        assert get(receiver.port, host="127.0.0.1").status == 200
        assert kind_of(receiver.port) == "tls"
        assert len(receiver.requests) == 1


def test_a_large_body_is_sent_over_tls(trusted: Authority) -> None:
    with receiving(saying(response()), tls=trusted.server(HOST)) as receiver:
        body = bytes(2_000_000)
        url = f"https://{HOST}:{receiver.port}/"
        assert outbound.send("POST", url, headers={}, body=body, timeout=60).status == 200
        assert receiver.requests[0].endswith(body)


@pytest.mark.parametrize("most", [5, 4_000])
def test_a_body_may_end_with_the_connection(most: int, trusted: Authority) -> None:
    answer = saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 3_000)
    with receiving(answer, tls=trusted.server(HOST)) as receiver:
        assert get(receiver.port, most=most).body == b"a" * min(most, 3_000)


def test_ten_parallel_requests_share_no_tls_session(trusted: Authority) -> None:
    resumed: list[bool | None] = []

    def echo(connection: socket.socket, request: bytes) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        resumed.append(connection.session_reused)
        connection.sendall(response(request.partition(b"\r\n\r\n")[2]))

    with (
        receiving(echo, tls=trusted.server(HOST)) as receiver,
        ThreadPoolExecutor(10) as pool,
    ):
        url = f"https://{HOST}:{receiver.port}/"
        bodies = [b"%d" % number for number in range(30)]
        replies = pool.map(
            lambda body: outbound.send("POST", url, headers={}, body=body, timeout=60), bodies
        )
        assert [reply.body for reply in replies] == bodies

    assert resumed == [False] * 30


BAD: dict[str, Callable[[Authority], ssl.SSLContext]] = {
    "another host": lambda authority: authority.server("other.example.com"),
    "no name": lambda authority: authority.server("127.0.0.2"),
    "a wildcard beside": lambda authority: authority.server("*.hooks.example.com"),
    "expired": lambda authority: authority.server(HOST, ends=-DAY),
}


@pytest.mark.parametrize("name", BAD)
def test_no_request_is_sent_if_the_certificate_is_invalid(name: str, trusted: Authority) -> None:
    with receiving(saying(response()), tls=BAD[name](trusted)) as receiver:
        assert kind_of(receiver.port) == "tls"
        assert (receiver.connections, receiver.requests) == (1, [])


def test_no_request_is_sent_if_the_authority_is_unknown(authority: Authority) -> None:
    with receiving(saying(response()), tls=authority.server(HOST)) as receiver:
        assert kind_of(receiver.port) == "tls"
        assert receiver.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_before_1_2_is_refused(trusted: Authority) -> None:
    context = trusted.server(HOST)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with receiving(saying(response()), tls=context) as receiver:
        assert kind_of(receiver.port) == "tls"
        assert receiver.requests == []


# ---- Connections that are kept -----------------------------------------------------------------


@pytest.fixture
def sender() -> Iterator[outbound.Sender]:
    one = outbound.Sender()
    yield one
    one.close()


def post(sender: outbound.Sender, port: int, *, host: str = HOST, **options: Any) -> Reply:
    options = {"body": b"{}", "timeout": LATE, "most": 100, "owner": "w", **options}
    return sender.send("POST", f"https://{host}:{port}/", headers={}, **options)


def test_a_kept_connection_needs_no_second_handshake(
    trusted: Authority, sender: outbound.Sender
) -> None:
    with receiving(saying(response(b"ok")), tls=trusted.server(HOST), each=9) as receiver:
        assert [post(sender, receiver.port).body for _ in range(4)] == [b"ok"] * 4
        assert (receiver.connections, len(receiver.requests)) == (1, 4)


def test_a_kept_connection_is_not_used_for_a_name_that_its_certificate_lacks(
    trusted: Authority, sender: outbound.Sender, names: Names
) -> None:
    names.say("other.example.com", ["127.0.0.1"])
    with receiving(saying(response()), tls=trusted.server(HOST), each=9) as receiver:
        post(sender, receiver.port)
        with pytest.raises(outbound.RequestFailed) as failed:
            post(sender, receiver.port, host="other.example.com")
        assert (failed.value.kind, len(receiver.requests)) == ("tls", 1)


@pytest.mark.parametrize("is_seen", [True, False])
@pytest.mark.parametrize("proper", [True, False], ids=["close_notify", "cut"])
def test_a_closed_connection_of_tls_is_replaced(
    trusted: Authority,
    sender: outbound.Sender,
    monkeypatch: pytest.MonkeyPatch,
    *,
    proper: bool,
    is_seen: bool,
) -> None:
    def answer(connection: socket.socket, _: bytes) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        connection.sendall(response())
        if proper:
            connection.settimeout(0)
            with suppress(OSError):
                connection.unwrap()

    if not is_seen:
        monkeypatch.setattr(exchange.Channel, "is_quiet", True)
    with receiving(answer, tls=trusted.server(HOST)) as receiver:
        for number in (1, 2, 3):
            assert post(sender, receiver.port).status == 200
            assert (receiver.connections, len(receiver.requests)) == (number, number)
            time.sleep(0.05)


def test_bytes_behind_an_answer_within_tls_end_the_connection(
    trusted: Authority, sender: outbound.Sender
) -> None:
    """One record has the answer, the next one more than it: both arrive together."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(response(b"a" * 100))
        connection.sendall(b"HTTP/1.1 500 Never\r\n\r\n")

    with receiving(answer, tls=trusted.server(HOST), each=9) as receiver:
        assert [post(sender, receiver.port).status for _ in range(3)] == [200] * 3


# ---- The deadline ------------------------------------------------------------------------------


def raw(serve: Callable[[socket.socket], None]) -> Any:
    """Listen, and call the test's function with each connection; no request is read."""

    class Hello(ssl.SSLContext):
        def wrap_socket(self, sock: socket.socket, **_: Any) -> Any:
            serve(sock)
            raise OSError

    return receiving(saying(), tls=Hello(ssl.PROTOCOL_TLS_SERVER))


def hang(connection: socket.socket) -> None:
    while connection.recv(4_096):
        pass


def trickle(connection: socket.socket) -> None:
    """Send a handshake record of 16 KiB, a byte at a time."""
    connection.recv(4_096)
    for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 9_999:
        connection.sendall(bytes([byte]))
        time.sleep(SHORT / 8)


@pytest.mark.parametrize("serve", [hang, trickle])
def test_a_handshake_ends_at_the_deadline(serve: Callable[[socket.socket], None]) -> None:
    with raw(serve) as receiver:
        begun = time.monotonic()
        assert kind_of(receiver.port, timeout=SHORT) == "timeout"
        assert SHORT <= time.monotonic() - begun < SOON


@pytest.mark.parametrize(
    "first_bytes",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x16\x03\x03"],
)
def test_a_server_without_tls_raises_tls(first_bytes: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(4_096)
        connection.sendall(first_bytes)

    with raw(speak) as receiver:
        assert kind_of(receiver.port) == "tls"


@pytest.mark.parametrize(
    ("head", "status"), [(b"", None), (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n", 200)]
)
def test_a_slow_answer_over_tls_ends_at_the_deadline(
    head: bytes, status: int | None, trusted: Authority
) -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"a")
            time.sleep(SHORT / 8)

    with receiving(drip, tls=trusted.server(HOST)) as receiver:
        begun = time.monotonic()
        if status is None:
            assert kind_of(receiver.port, timeout=SHORT * 2) == "timeout"
        else:
            url = f"https://{HOST}:{receiver.port}/"
            reply = outbound.send("GET", url, headers={}, timeout=SHORT * 2)
            assert (reply.status, reply.broken) == (status, "timeout")
        assert SHORT <= time.monotonic() - begun < SOON


def test_a_flood_of_session_tickets_ends_at_the_byte_limit(trusted: Authority) -> None:
    """Tickets are not data, so one read of a plain TLS socket would go on as long as they come."""
    context = trusted.server(HOST)
    context.num_tickets = 20_000
    with receiving(saying(response()), tls=context) as receiver:
        begun = time.monotonic()
        assert kind_of(receiver.port) == "protocol"
        assert time.monotonic() - begun < LATE
