"""The writes that store a signal, for other rooms' transactions."""

from __future__ import annotations

from gatehouse.dynamo.table import Table, Write
from gatehouse.signals import store
from gatehouse.signals.model import Signal


def create(table: Table, signal: Signal) -> dict[str, Write]:
    """Write a new signal and its mark. The condition of `signal` fails if its id exists already."""
    return store.create(table, signal)
