"""Receivers of deliveries in virtual time: they answer after a while, or hang until the timeout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gatehouse.core.clock import Micros
from gatehouse.outbound.client import Reply, RequestFailed
from support.aws.virtual_time import VirtualTime


@dataclass(frozen=True, slots=True)
class Arrival:
    """One POST that a receiver got."""

    at: Micros
    host: str
    id: str  # of the delivery


@dataclass
class Behaviour:
    """What a receiver does: `status` after `seconds`; with status None it never answers."""

    seconds: float = 0.05
    status: int | None = 200


class VirtualReceivers:
    """All receivers, by host. `send` takes the place of the one that opens sockets."""

    def __init__(self, time: VirtualTime) -> None:
        self.arrivals: list[Arrival] = []
        self.answered: Counter[str] = Counter()  # 2xx by delivery
        self.behaviours: dict[str, Behaviour] = {}
        self.usual = Behaviour()
        self._time = time

    def hang(self, *hosts: str) -> None:
        """Let these hosts accept connections and never answer."""
        for host in hosts:
            self.behaviours[host] = Behaviour(status=None)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: float = 10.0,
        **_: Any,
    ) -> Reply:
        """Take one POST, as `gatehouse.outbound.client.send` sends it."""
        assert method == "POST"
        host = str(urlsplit(url).hostname)
        behaviour = self.behaviours.get(host, self.usual)
        arrival = Arrival(self._time.now, host, headers["webhook-id"])
        self.arrivals.append(arrival)
        if behaviour.status is None or behaviour.seconds > timeout:
            self._time.sleep(timeout)
            raise RequestFailed("timeout")
        self._time.sleep(behaviour.seconds)
        if 200 <= behaviour.status < 300:
            self.answered[arrival.id] += 1
        return Reply(behaviour.status, {}, b"")
