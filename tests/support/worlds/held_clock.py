from __future__ import annotations

import time

from gatehouse.core import clock


class HeldClock:
    """A clock that moves only when it is told to. Begins at the real time, on a whole second."""

    def __init__(self) -> None:
        self.at = time.time_ns() // 1_000_000_000 * clock.SECOND

    def __call__(self) -> int:
        return self.at

    def advance(self, *, seconds: float = 0, micros: int = 0) -> None:
        """Move on."""
        self.at += round(seconds * clock.SECOND) + micros

    def text(self, *, seconds: float = 0) -> str:
        """Write the moment that is `seconds` ahead, as the wire has it."""
        return clock.rfc3339(self.at + round(seconds * clock.SECOND))
