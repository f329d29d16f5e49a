"""HTTP requests to hosts that callers of the API have named. No other module sends any.

A name is resolved once, every address that it has is checked, and the connection goes to one of
those addresses: what the name resolves to later does not matter. Nothing is kept between requests,
no connection, cookie or address, so one account's receiver never meets another's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing

from gatehouse.core.errors import BadInput
from gatehouse.outbound import urls
from gatehouse.outbound.addresses import Unfit
from gatehouse.outbound.exchange import Reply, exchange, kind_of
from gatehouse.outbound.failure import BadAnswer, RequestFailed
from gatehouse.outbound.headers import can_be_sent
from gatehouse.outbound.resolver import addresses_of
from gatehouse.outbound.wire import dial

__all__ = ["METHODS", "Reply", "RequestFailed", "check_host", "checked_url", "send"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_RESOLVING = 5.0  # seconds that `check_host` waits for a name
_OVERHEAD = 262_144  # bytes of TLS, head and framing; a normal answer has far fewer

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
    sent = _headers(method, headers)
    own = tuple(own)
    try:
        target = urls.allowed(url, own=own)
    except Unfit as unfit:
        raise RequestFailed("address") from unfit
    addresses = addresses_of(target, own=own, ends_at=ends_at)
    try:
        with closing(dial(addresses, target.port, ends_at=ends_at)) as wire:
            wire.allowance = (
                _OVERHEAD + 8 * most
            )  # each byte of a body in tiny chunks needs several more
            return exchange(method, target, wire, headers=sent, body=body, most=most)
    except (OSError, BadAnswer) as error:
        raise RequestFailed(kind_of(error)) from error


def _headers(method: str, headers: Mapping[str, str]) -> dict[str, str]:
    if method not in METHODS or not can_be_sent(headers):
        raise RequestFailed("protocol", "The request's method or headers cannot be sent.")
    has_agent = any(name.lower() == "user-agent" for name in headers)
    return dict(headers) if has_agent else {**headers, "User-Agent": "Gatehouse"}
