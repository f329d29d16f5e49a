"""Retries with exponential back-off and jitter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often to try, and how long to wait between two tries.

    The wait before the second try is at most `first` seconds and doubles up to `longest`. Each
    wait is drawn evenly between `least` (a share, 0 to 1) of that and the whole: 0 is full jitter,
    which callers that collide need.
    """

    attempts: int
    first: float = 0.0
    longest: float = 1.0
    least: float = 0.0

    def tries(self) -> Iterator[int]:
        """Yield 1 to `attempts`, and wait before each but the first.

        The loop that runs to its end has failed every time; what then happens is the caller's:

            conflict: Exception | None = None
            for _ in CONFLICTS.tries():
                try:
                    return write()
                except TransactionConflict as conflicting:
                    conflict = conflicting
            raise Unavailable from conflict  # the log line of a 503 names its causes
        """
        for attempt in range(1, self.attempts + 1):
            if attempt > 1:
                self.wait(attempt - 1)
            yield attempt

    def call(self, act: Callable[[], Result], *, on: type[Exception]) -> Result:
        """Call `act` until it does not raise `on`; the last try's error is raised."""
        for attempt in self.tries():
            try:
                return act()
            except on:
                if attempt == self.attempts:
                    raise
        raise ValueError("attempts must be 1 or more")

    def wait(self, failures: int) -> None:
        """Wait after so many failed tries, 1 or more."""
        longest = min(self.longest, self.first * 2 ** (failures - 1))
        if longest > 0:
            time.sleep(longest * random.uniform(self.least, 1))  # noqa: S311 - jitter


ON_CHANGE = Backoff(attempts=24, first=0.01, longest=0.04)
"""For a change that was refused because somebody else changed the thing since it was read.

Each try reads the thing again. So many tries that ten callers who change one thing in loops all
succeed.
"""
