"""Emits signals by the room's action, as the route does, without HTTP."""

from __future__ import annotations

from typing import Any

from gatehouse.core.request import Answered
from gatehouse.dynamo.table import Tables
from gatehouse.signals import actions as signals
from gatehouse.signals.model import NewSignal, Signal
from support.actors.visitor import Visitor
from support.checks.inspection import items


def emit(caller: Visitor, **fields: Any) -> Signal:
    """Emit a signal; a pulse by default."""
    emitted: list[Signal] = []

    def answered(signal: Signal) -> Answered:
        emitted.append(signal)
        return Answered(201, signal.id)

    new = NewSignal(**{"signal_type": "pulse", "content": "x", **fields})
    signals.emit(caller.tables.main, caller.call(), new, answered=answered)
    return emitted[0]


def stored(tables: Tables) -> list[dict[str, Any]]:
    """Read every signal's item."""
    return [item for item in items(tables.main) if item["pk"].startswith("SIGNAL#")]


def marks(tables: Tables) -> list[dict[str, Any]]:
    """Read the marks of signals whose fan-out is not finished."""
    return [item for item in items(tables.main) if item["pk"].startswith("FANOUT#")]
