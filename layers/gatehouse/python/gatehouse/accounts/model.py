from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.clock import Micros


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant. `operator` is True of the one that bootstrap made, and of no other."""

    id: str
    name: str
    plan: str
    created_at: Micros
    operator: bool = False
