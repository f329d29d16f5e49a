"""Idle connections that later requests may use, within one environment."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from gatehouse.outbound.addresses import Address
from gatehouse.outbound.exchange import Channel

MOST = 100  # connections
MOST_OF_ONE = 16  # of one route
OLDEST = 60.0  # seconds since a connection was made
DISTRUST = 600.0  # seconds
_MOST_DISTRUSTED = 1_000


@dataclass(frozen=True, slots=True)
class Route:
    """Who sends where. A connection serves one route.

    The owner is part of it: some hosts log a whole connection in by a header, and a host that
    misreads a request may take its rest for the beginning of the next one.
    """

    owner: str
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Kept:
    route: Route
    channel: Channel
    # On two clocks: one of them may stand still while the environment is frozen.
    ends_at: float
    ends_at_wall: float

    def is_over(self) -> bool:
        return time.monotonic() >= self.ends_at or time.time() >= self.ends_at_wall


class Pool:
    """Keeps connections between requests. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[_Kept] = []  # the last used last
        self._distrusted: dict[Route, float] = {}

    def __del__(self) -> None:
        """Close the connections of a pool that nobody uses any more."""
        self.close()

    def take(self, route: Route, addresses: Collection[Address]) -> Channel | None:
        """Take a connection to one of these addresses, which were just checked; None if none is.

        A connection that the host closed, or on which it sent something unasked, is closed.
        """
        with self._lock:
            self._close_old()
            for kept in reversed(self._kept.copy()):
                if kept.route == route and kept.channel.wire.address in addresses:
                    self._kept.remove(kept)
                    if kept.channel.is_quiet:
                        return kept.channel
                    kept.channel.close()
        return None

    def put(self, route: Route, channel: Channel, *, idle: float) -> None:
        """Keep a connection for so many seconds; close it if it is old or there are too many."""
        left = min(idle, channel.born + OLDEST - time.monotonic())
        with self._lock:
            self._close_old()
            of_one = sum(kept.route == route for kept in self._kept)
            if left <= 0 or of_one >= MOST_OF_ONE or route in self._distrusted:
                channel.close()
                return
            if len(self._kept) >= MOST:
                self._kept.pop(0).channel.close()
            self._kept.append(_Kept(route, channel, time.monotonic() + left, time.time() + left))

    def distrust(self, route: Route) -> None:
        """Keep no connection of a route for ten minutes: it seems to misread a second request."""
        with self._lock:
            for kept in [one for one in self._kept if one.route == route]:
                self._kept.remove(kept)
                kept.channel.close()
            self._distrusted.pop(route, None)
            self._distrusted[route] = time.monotonic() + DISTRUST
            if len(self._distrusted) > _MOST_DISTRUSTED:
                del self._distrusted[next(iter(self._distrusted))]

    def close(self) -> None:
        """Close all connections that are kept."""
        with self._lock:
            for kept in self._kept:
                kept.channel.close()
            self._kept.clear()

    def _close_old(self) -> None:
        old = [kept for kept in self._kept if kept.is_over()]
        for kept in old:
            self._kept.remove(kept)
            kept.channel.close()
        now = time.monotonic()
        while self._distrusted and next(iter(self._distrusted.values())) <= now:
            del self._distrusted[next(iter(self._distrusted))]
