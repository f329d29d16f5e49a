"""The only door out: HTTP requests to hosts that callers of the API have named.

Failed.kind
├── address       the URL, or an address behind its name, is not one that may be called
├── unresolvable  the name has no address now
├── refused       nobody listens there
├── timeout       the deadline passed, wherever the time was spent
├── tls           no handshake, or a certificate that is not good for the host
├── connection    there is no way there, or it broke
└── protocol      what came is no HTTP, or what was to be sent is none

A name is resolved once, every address that it has is judged, and one of those very addresses is
dialled: what the name says a moment later does not matter. Nothing is kept between two calls, no
connection, no cookie, no name's address, so one account's receiver never meets another's.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

from urllib3.util.ssltransport import SSLTransport

from gatehouse.core.errors import BadInput
from gatehouse.outbound import headers as sendable
from gatehouse.outbound import urls
from gatehouse.outbound.addresses import Address, Unfit
from gatehouse.outbound.urls import Destination

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_RESOLVING = 5.0  # seconds that the check at save waits for a name
_MOST_DIALLED = 4  # of a name's addresses
_OVERHEAD = 262_144  # bytes of TLS, head and framing; an honest answer stays far below

_SENTENCES = {
    "address": "The URL leads to an address that may not be called.",
    "unresolvable": "The host's name has no address.",
    "refused": "The host refused the connection.",
    "timeout": "The host did not answer in time.",
    "tls": "There is no TLS connection with a certificate that is good for the host.",
    "connection": "The connection failed or broke.",
    "protocol": "The answer is no HTTP.",
}


class Failed(Exception):
    """A request got no answer. `kind` is one of those above, the text a sentence safe to show."""

    def __init__(self, kind: str, sentence: str | None = None) -> None:
        super().__init__(sentence or _SENTENCES[kind])
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Header names are in lower case, control characters in values are spaces.

    `truncated` says that the body has, or may have, more than was asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool


# ---- Before anything is sent -------------------------------------------------------------------


def checked_url(text: str, *, field: str = "url", own: Iterable[str] = ()) -> str:
    """Return a URL in normal form, if it is one that may be called; no name is resolved.

    `own` adds hosts to GATEHOUSE_OWN_HOSTS.

    Raises:
        BadInput: It may not; the message names `field`.

    """
    try:
        return urls.allowed(text, own=tuple(own)).url
    except Unfit as unfit:
        raise BadInput(f"{field} {unfit}", details={"field": field}) from unfit


def check_host(url: str, *, field: str = "url", own: Iterable[str] = ()) -> None:
    """Check the addresses that a URL's host has now; those it has later are judged by `send`.

    Raises:
        BadInput: One of them may not be called, or there is none; the message names `field`.

    """
    own = tuple(own)
    try:
        target = urls.allowed(url, own=own)
        _addresses(target, own=own, ends_at=time.monotonic() + _RESOLVING)
    except Unfit as unfit:
        raise BadInput(f"{field} {unfit}", details={"field": field}) from unfit
    except Failed as failed:
        reason = (
            "must not lead to a private, reserved or own address"
            if failed.kind == "address"
            else "must name a host that can be resolved"
        )
        raise BadInput(f"{field} {reason}", details={"field": field}) from failed


def check_header(name: str, value: str, *, field: str = "headers") -> None:
    """Check that a header can be sent and does not say where the request goes or ends.

    Raises:
        BadInput: It cannot; the message names `field` and never the value.

    """
    flaw = sendable.flaw(name, value)
    if flaw:
        raise BadInput(f"{field} {flaw}", details={"field": field})


# ---- The request -------------------------------------------------------------------------------


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes = b"",
    timeout: float = 10.0,
    most: int = 1_024,
    own: Iterable[str] = (),
) -> Reply:
    """Send one request and read its answer, the body up to `most` bytes.

    `timeout` is seconds for everything together: resolving, connecting, the handshake, sending,
    and the last byte that is read. A redirect is an answer like any other, a compressed body stays
    as it came, and nothing is tried twice.

    Raises:
        Failed: There is no answer, for a reason that is not ours.

    """
    ends_at = time.monotonic() + timeout
    sent = _headers(method, headers)
    own = tuple(own)
    try:
        target = urls.allowed(url, own=own)
    except Unfit as unfit:
        raise Failed("address") from unfit
    addresses = _addresses(target, own=own, ends_at=ends_at)
    try:
        with closing(_dial(addresses, target.port, ends_at=ends_at)) as wire:
            wire.allowance = _OVERHEAD + 8 * most  # tiny chunks frame each byte with many more
            return _exchange(method, target, wire, headers=sent, body=body, most=most)
    except TimeoutError as error:
        raise Failed("timeout") from error
    except ssl.SSLError as error:
        raise Failed("tls") from error
    except ConnectionRefusedError as error:
        raise Failed("refused") from error
    except OSError as error:
        raise Failed("connection") from error
    # Parsing what a stranger sends ends in a ValueError here and there.
    except (http.client.HTTPException, ValueError) as error:
        raise Failed("protocol") from error


def _headers(method: str, headers: Mapping[str, str]) -> dict[str, str]:
    names = {name.lower() for name in headers}
    flawed = any(sendable.flaw(name, value) for name, value in headers.items())
    if flawed or method not in METHODS or not len(names) == len(headers) <= sendable.MOST_HEADERS:
        raise Failed("protocol", "The request's headers cannot be sent.")
    return dict(headers) if "user-agent" in names else {**headers, "User-Agent": "Gatehouse"}


def _addresses(target: Destination, *, own: Collection[str], ends_at: float) -> Sequence[Address]:
    """Resolve the host, once, and judge every address that it has. Raises Failed."""
    if target.literal is not None:
        return [target.literal]  # judged with the URL
    found = _resolved(target.host, target.port, ends_at=ends_at)
    if not all(urls.may_be_called(one, target.port, own=own) for one in found):
        raise Failed("address")
    return found


def _resolved(host: str, port: int, *, ends_at: float) -> list[Address]:
    # The resolver knows no deadline, so a thread of its own waits for it. One left behind ends
    # with the resolver's patience, some tens of seconds; few requests at a time bound how many.
    answers: list[list[str] | Exception] = []

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.append([str(sockaddr[0]) for *_, sockaddr in found])
        except (OSError, UnicodeError) as error:
            answers.append(error)

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, ends_at - time.monotonic()))
    if not answers:
        raise Failed("timeout")
    texts = answers[0]
    if isinstance(texts, Exception) or not texts:
        raise Failed("unresolvable")
    # An address with a zone keeps it, and is judged with it.
    return [ip_address(text) for text in dict.fromkeys(texts)]


class _Wire(socket.socket):
    """A TCP socket with a deadline, and a bound on the bytes that it takes in.

    A plain socket's timeout begins anew with every byte that comes.
    """

    ends_at: float
    allowance: int

    def wait(self) -> None:
        """Let the next step take what is left of the time. Raises TimeoutError when none is."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self.wait()
        data = super().recv(bufsize, flags)
        self._take(len(data))
        return data

    def recv_into(self, buffer: bytearray, nbytes: int = 0, flags: int = 0) -> int:  # type: ignore[override]
        self.wait()
        count = super().recv_into(buffer, nbytes, flags)
        self._take(count)
        return count

    def sendall(self, data: bytes, flags: int = 0, /) -> None:  # type: ignore[override]
        self.wait()
        super().sendall(data, flags)

    def _take(self, count: int) -> None:
        self.allowance -= count
        if self.allowance < 0:
            raise http.client.HTTPException("more than an answer needs")


def _dial(addresses: Sequence[Address], port: int, *, ends_at: float) -> _Wire:
    """Connect to the first address that lets us; a silent one gets its share of the time."""
    dialled = addresses[:_MOST_DIALLED]
    failure: OSError = TimeoutError()
    for place, address in enumerate(dialled):
        left = ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            wire = _Wire(socket.AF_INET6 if address.version == 6 else socket.AF_INET)  # noqa: PLR2004
        except OSError as error:  # no IPv6 here
            failure = error
            continue
        try:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.settimeout(left / (len(dialled) - place))
            wire.connect((str(address), port))
        except OSError as error:
            wire.close()
            failure = error
        else:
            wire.ends_at = ends_at
            return wire
    raise failure


def _exchange(
    method: str,
    target: Destination,
    wire: _Wire,
    *,
    headers: Mapping[str, str],
    body: bytes,
    most: int,
) -> Reply:
    # Of urllib3 only TLS over a socket of one's own: its connection logs the URL, which may hold a
    # token, when an answer's headers do not parse. An SSLSocket would go past the wire's bounds: it
    # stays in one read, whatever its timeout, as long as there are session tickets to be read.
    name = target.host.strip("[]")
    connection = http.client.HTTPConnection(name, target.port)
    connection.response_class = _Answer
    connection.auto_open = 0  # it never dials by itself
    connection.sock = (
        SSLTransport(wire, _trust(), server_hostname=name) if target.scheme == "https" else wire
    )
    framing = {"Host": target.authority, "Connection": "close"}
    carried = body if body or method in {"POST", "PUT", "PATCH"} else None
    # It may have answered before it hung up, with a 413 for one.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.request(method, target.path, body=carried, headers={**framing, **headers})
    with closing(connection.getresponse()) as answer:
        read = answer.read(most) if most else b""
        if len(read) < most and answer.length:
            raise http.client.IncompleteRead(read, answer.length)
        return Reply(
            status=answer.status,
            headers=_shown(answer.getheaders()),
            body=read,
            truncated=len(read) == most and answer.length != 0,
        )


class _Answer(http.client.HTTPResponse):
    """A response that lets every interim answer pass, not only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        interim = http.client.PROCESSING <= status < http.client.OK
        return version, http.client.CONTINUE if interim else status, reason


@cache
def _trust() -> ssl.SSLContext:
    """Load the system's certificate authorities, once; the context remembers no session."""
    return ssl.create_default_context()


def _shown(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        clean = "".join(char if char.isprintable() else " " for char in value)
        key = name.lower()
        found[key] = f"{found[key]}, {clean}" if key in found else clean
    return found
