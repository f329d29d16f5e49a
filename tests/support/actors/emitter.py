"""Signals emitted in the rooms, as the route emits them, without HTTP."""

from __future__ import annotations

from typing import Any

from gatehouse.core.request import Answered
from gatehouse.dynamo.table import Tables
from gatehouse.signals import actions as signals
from gatehouse.signals.model import Signal, Wish
from support.actors.visitor import Visitor
from support.checks.inspection import items


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
