"""When a webhook is marked as slow, and when the mark is cleared. Pure."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.core.clock import DAY, HOUR, MINUTE, SECOND, Micros
from gatehouse.webhooks.model import Slowness

SLOW: Micros = 5 * SECOND
QUICK: Micros = 2 * SECOND
LONGEST_HOLD: Micros = HOUR

# A webhook that was marked within this time before counts as one that is marked again.
_REMEMBERED: Micros = DAY


def after_attempt(before: Slowness, took: Micros, now: Micros) -> Slowness:
    """Return the mark after an attempt that took this long, a timeout included."""
    if took >= SLOW and not before.slow:
        again = before.since is not None and now - before.since < _REMEMBERED
        return Slowness(slow=True, since=now, count=before.count + 1 if again else 1)
    if took < QUICK and before.slow and now - (before.since or 0) >= hold(before.count):
        return replace(before, slow=False)
    return before


def hold(count: int) -> Micros:
    """Return how long a mark stays at least, if it is the `count`-th.

    The first quick attempt clears a first mark. Later ones stay for 1, 2, 4 ... minutes up to an
    hour, so that an owner whose receiver is slow every other time gains nothing.
    """
    return 0 if count <= 1 else min(LONGEST_HOLD, MINUTE * 2 ** min(count - 2, 6))
