from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# What is counted, by its attribute's name. A delivery is in one of the first three at a time, and
# pending while it waits for a retry or is parked; `acked` are acknowledged signals.
PENDING, DELIVERED, DEAD_LETTER, ACKED = "pending", "delivered", "dead_letter", "acked"
TOTALS = (PENDING, DELIVERED, DEAD_LETTER, ACKED)


@dataclass(frozen=True, slots=True)
class Sums:
    """What to add to one account's counters: to totals by name, and new signals by the minute.

    Minutes are numbered since the epoch.
    """

    totals: Counter[str] = field(default_factory=Counter)
    minutes: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Portion:
    """What one transaction writes: sums by account, of every record up to `upto`.

    `upto` is a sequence number, padded with zeros so that texts compare as numbers do.
    """

    upto: str
    sums: Mapping[str, Sums]


@dataclass(frozen=True, slots=True)
class Health:
    """How an account's traffic stands. `latency_ms` is the time of the read that told the rest."""

    totals: Mapping[str, int]
    volume: int
    latency_ms: float
