"""Signals emitted in the rooms, as the route emits them, without HTTP."""

from __future__ import annotations

from typing import Any

from gatehouse.idempotency import Answered
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal, Wish
from gatehouse.table import Tables
from inspection import items
from visits import Visitor


def emit(who: Visitor, **fields: Any) -> Signal:
    """Emit a signal, a pulse unless said otherwise."""
    kept: list[Signal] = []

    def answered(signal: Signal) -> Answered:
        kept.append(signal)
        return Answered(201, signal.id)

    wish = Wish(**{"signal_type": "pulse", "content": "x", **fields})
    signals.emit(who.tables.main, who.call(), wish, answered=answered)
    return kept[0]


def stored(tables: Tables) -> list[dict[str, Any]]:
    """Read every signal's item."""
    return [item for item in items(tables.main) if item["pk"].startswith("SIGNAL#")]
