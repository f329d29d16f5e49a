"""A TCP connection with one deadline and a limit on received bytes."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence

from gatehouse.outbound.addresses import Address
from gatehouse.outbound.failure import BadAnswer

_MAX_DIALLED = 4  # of a host's addresses
# The place of `tcpi_bytes_acked` in Linux's struct tcp_info.
_ACKNOWLEDGED = struct.Struct("=120xQ")


class Wire(socket.socket):
    """A TCP socket with a deadline, and a limit on the bytes that it receives.

    The timeout of a plain socket starts again with every received byte.
    """

    address: Address
    ends_at: float
    allowance: int

    def wait(self) -> None:
        """Set the timeout of the next step to the time that is left; TimeoutError if none is."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(left)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive within deadline and limit."""
        self.wait()
        data = super().recv(bufsize, flags)
        self._take(len(data))
        return data

    def sendall(self, data: bytes, flags: int = 0, /) -> None:  # type: ignore[override]
        """Send within the deadline."""
        if data:  # TLS often has nothing to send
            self.wait()
            super().sendall(data, flags)

    def acknowledged(self) -> int | None:
        """Return how many sent bytes the peer's system has acknowledged; None if unknown."""
        if not hasattr(socket, "TCP_INFO"):
            return None
        try:
            info = self.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size)
            return int(_ACKNOWLEDGED.unpack(info)[0])
        except (OSError, struct.error):
            return None

    def is_readable(self) -> bool:
        """Return whether there are bytes to receive, an end or an error, without waiting."""
        watched = select.poll()
        watched.register(self, select.POLLIN)
        return bool(watched.poll(0))

    def _take(self, count: int) -> None:
        self.allowance -= count
        if self.allowance < 0:
            raise BadAnswer("more bytes than an answer needs")


def dial(addresses: Sequence[Address], port: int, *, ends_at: float) -> Wire:
    """Connect to the first address that accepts; each gets an equal share of the time left.

    Raises the last address's OSError, or TimeoutError.
    """
    dialled = addresses[:_MAX_DIALLED]
    failure: OSError = TimeoutError()
    for place, address in enumerate(dialled):
        left = ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            wire = Wire(socket.AF_INET6 if address.version == 6 else socket.AF_INET)  # noqa: PLR2004
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
            wire.address = address
            wire.ends_at = ends_at
            return wire
    raise failure
