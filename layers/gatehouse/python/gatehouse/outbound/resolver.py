"""Resolving a host, once per request, and checking every address that it has."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Collection, Sequence
from ipaddress import ip_address

from gatehouse.outbound import urls
from gatehouse.outbound.addresses import Address
from gatehouse.outbound.failure import RequestFailed
from gatehouse.outbound.urls import Destination


def addresses_of(target: Destination, *, own: Collection[str], ends_at: float) -> Sequence[Address]:
    """Return the addresses of a destination's host, all of which may be called.

    `ends_at` is the deadline on the monotonic clock. Raises RequestFailed.
    """
    if target.literal is not None:
        return [target.literal]  # checked with the URL
    addresses = _resolve(target.host, target.port, ends_at=ends_at)
    if not all(urls.may_be_called(one, target.port, own=own) for one in addresses):
        raise RequestFailed("address")
    return addresses


def _resolve(host: str, port: int, *, ends_at: float) -> list[Address]:
    # The resolver has no deadline, so a thread waits for it. A thread that is left behind ends when
    # the resolver gives up, after some tens of seconds.
    answers: list[list[str] | Exception] = []

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.append([str(sockaddr[0]) for *_, sockaddr in infos])
        except (OSError, UnicodeError) as error:
            answers.append(error)

    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, ends_at - time.monotonic()))
    if not answers:
        raise RequestFailed("timeout")
    texts = answers[0]
    if isinstance(texts, Exception) or not texts:
        raise RequestFailed("unresolvable")
    # An address with a zone keeps it, so that the check sees it.
    return [ip_address(text) for text in dict.fromkeys(texts)]
