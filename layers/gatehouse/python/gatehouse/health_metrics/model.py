from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# The totals, by their attributes' names. A delivery counts in one of the first three: as pending
# while it waits for an attempt, a retry or its webhook. `acked` counts acknowledged signals.
PENDING, DELIVERED, DEAD_LETTER, ACKED = "pending", "delivered", "dead_letter", "acked"
TOTALS = (PENDING, DELIVERED, DEAD_LETTER, ACKED)


@dataclass(frozen=True, slots=True)
class Sums:
    """What to add to one account's counters: totals by name, and new signals by minute.

    Minutes are numbered since the epoch.
    """

    totals: Counter[str] = field(default_factory=Counter)
    minutes: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Portion:
    """What one transaction writes: the sums, by account, of all records up to `upto`.

    `upto` is a sequence number, padded with zeros so that it sorts as text like a number.
    """

    upto: str
    sums: Mapping[str, Sums]


@dataclass(frozen=True, slots=True)
class HealthMetrics:
    """An account's totals, and its signals of the last 24 hours.

    `latency_ms` is how long the read of the counters took.
    """

    totals: Mapping[str, int]
    volume: int
    latency_ms: float
