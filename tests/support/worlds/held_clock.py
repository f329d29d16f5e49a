from __future__ import annotations

import time

from gatehouse.core import clock


class HeldClock:
    """A clock that only `advance` moves. Starts at the real time, on a whole second."""

    def __init__(self) -> None:
        self.at = time.time_ns() // 1_000_000_000 * clock.SECOND

    def __call__(self) -> int:
        return self.at

    def advance(self, *, seconds: float = 0, micros: int = 0) -> None:
        """Move the clock forward."""
        self.at += round(seconds * clock.SECOND) + micros

    def text(self, *, seconds: float = 0) -> str:
        """Return the time that is `seconds` ahead, as text in RFC 3339."""
        return clock.rfc3339(self.at + round(seconds * clock.SECOND))
