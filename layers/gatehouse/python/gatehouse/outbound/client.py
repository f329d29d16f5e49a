"""HTTP requests to hosts that callers of the API have named. No other module sends any.

A name is resolved once, every address that it has is checked, and the connection goes to one of
those addresses: what the name resolves to later does not matter. No cookie or address is kept
between requests. A `Sender` keeps connections, each for one owner and one origin, and uses one
again only for an address that was just checked.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from gatehouse.core.errors import BadInput
from gatehouse.outbound import urls
from gatehouse.outbound.addresses import Address, Unfit
from gatehouse.outbound.exchange import Channel, Reply, Request, exchange, kind_of
from gatehouse.outbound.failure import BadAnswer, RequestFailed, Unheard
from gatehouse.outbound.headers import can_be_sent
from gatehouse.outbound.pool import Pool, Route
from gatehouse.outbound.resolver import addresses_of
from gatehouse.outbound.urls import Destination
from gatehouse.outbound.wire import Wire, dial

__all__ = ["METHODS", "Reply", "RequestFailed", "Sender", "check_host", "checked_url", "send"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_RESOLVING = 5.0  # seconds that `check_host` waits for a name
_OVERHEAD = 262_144  # bytes of TLS, head and framing; a normal answer has far fewer
# Answers of a host that may have read a second request wrongly: where it left the first one's body
# unread, that body looks like the beginning of the second.
_MISREAD = frozenset({400, 405, 408, 501, 505})

# ---- Before anything is sent -------------------------------------------------------------------


def checked_url(text: str, *, field: str = "url", own: Iterable[str] = ()) -> str:
    """Return a URL in normal form after checking that it may be called. Resolves no name.

    `own` adds hosts to GATEHOUSE_OWN_HOSTS.

    Raises:
        BadInput: It must not be called; the message names `field`.

    """
    try:
        return urls.allowed(text, own=tuple(own)).url
    except Unfit as unfit:
        raise BadInput(f"{field} {unfit}", details={"field": field}) from unfit


def check_host(url: str, *, field: str = "url", own: Iterable[str] = ()) -> None:
    """Check the addresses that a URL's host has now. `send` checks those it has later.

    Raises:
        BadInput: An address must not be called, or there is none; the message names `field`.

    """
    own = tuple(own)
    try:
        target = urls.allowed(url, own=own)
        addresses_of(target, own=own, ends_at=time.monotonic() + _RESOLVING)
    except Unfit as unfit:
        raise BadInput(f"{field} {unfit}", details={"field": field}) from unfit
    except RequestFailed as failed:
        reason = (
            "must not lead to a private, reserved or own address"
            if failed.kind == "address"
            else "must name a host that can be resolved"
        )
        raise BadInput(f"{field} {reason}", details={"field": field}) from failed


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
    """Send one request and read its answer, up to `most` bytes of the body.

    `timeout` is in seconds and covers everything: resolving, connecting, the handshake, sending,
    and reading to the last byte. Redirects are not followed, compressed bodies stay compressed,
    and nothing is retried. The status decides: an answer that breaks after it is a reply whose
    `broken` names why.

    Raises:
        RequestFailed: The host sent no status.

    """
    ends_at = time.monotonic() + timeout
    own = tuple(own)
    request = Request(method, _target(url, own), _headers(method, headers), body, most)
    addresses = addresses_of(request.target, own=own, ends_at=ends_at)
    with _failures():
        channel = _connected(request, addresses=addresses, ends_at=ends_at)
        with closing(channel):
            return exchange(channel, request)[0]


class Sender:
    """Sends requests, and keeps their connections for a few seconds. Threads may share it."""

    def __init__(self) -> None:
        self._pool = Pool()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,
        most: int,
        owner: str,
    ) -> Reply:
        """Send a request as the function `send` does, over a kept connection if there is one.

        It is used for the same `owner` and origin alone, and for addresses that were just checked.
        The request is sent again, over a new connection, only if the host had closed the kept one
        before any byte of the request reached it.

        Raises:
            RequestFailed: The host sent no status.

        """
        ends_at = time.monotonic() + timeout
        sent = _headers(method, headers)
        request = Request(method, _target(url), sent, body, most, keep=True)
        addresses = addresses_of(request.target, own=(), ends_at=ends_at)
        route = Route(owner, request.target.scheme, request.target.host, request.target.port)
        with _failures():
            channel = self._pool.take(route, addresses)
            if channel is not None:
                _limit(channel.wire, request, ends_at)
                reply = self._send_over_kept(channel, request, route)
                if reply is not None:
                    return reply
            channel = _connected(request, addresses=addresses, ends_at=ends_at)
            return self._send_over(channel, request, route)

    def close(self) -> None:
        """Close the connections that no request uses."""
        self._pool.close()

    def _send_over_kept(self, channel: Channel, request: Request, route: Route) -> Reply | None:
        """Send a request; None if it certainly did not reach the host."""
        try:
            reply = self._send_over(channel, request, route)
        except Unheard:
            return None
        except (OSError, BadAnswer):
            self._pool.distrust(route)
            raise
        if reply.status in _MISREAD:
            self._pool.distrust(route)
        return reply

    def _send_over(self, channel: Channel, request: Request, route: Route) -> Reply:
        idle = 0.0
        try:
            reply, idle = exchange(channel, request)
            return reply
        finally:
            if idle:
                self._pool.put(route, channel, idle=idle)
            else:
                channel.close()


def _target(url: str, own: Collection[str] = ()) -> Destination:
    try:
        return urls.allowed(url, own=own)
    except Unfit as unfit:
        raise RequestFailed("address") from unfit


def _headers(method: str, headers: Mapping[str, str]) -> dict[str, str]:
    if method not in METHODS or not can_be_sent(headers):
        raise RequestFailed("protocol", "The request's method or headers cannot be sent.")
    has_agent = any(name.lower() == "user-agent" for name in headers)
    return dict(headers) if has_agent else {**headers, "User-Agent": "Gatehouse"}


def _connected(request: Request, *, addresses: Sequence[Address], ends_at: float) -> Channel:
    wire = dial(addresses, request.target.port, ends_at=ends_at)
    try:
        _limit(wire, request, ends_at)
        return Channel(wire, request.target)
    except BaseException:
        wire.close()
        raise


def _limit(wire: Wire, request: Request, ends_at: float) -> None:
    wire.ends_at = ends_at
    # Each byte of a body in tiny chunks needs several more.
    wire.allowance = _OVERHEAD + 8 * request.most


@contextmanager
def _failures() -> Iterator[None]:
    """Raise RequestFailed for an error of an exchange."""
    try:
        yield
    except (OSError, BadAnswer) as error:
        raise RequestFailed(kind_of(error)) from error
