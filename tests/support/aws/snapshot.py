"""Going back: the tables as they stood, for tests that begin the same thing many times."""

from __future__ import annotations

from typing import Any

from moto.dynamodb.models import dynamodb_backends

from gatehouse.dynamo.table import Tables

ACCOUNT, REGION = "123456789012", "us-east-1"


class Rewind:
    """Remembers both tables; `back()` puts them as they were.

    Items are shared, not copied: an update works on a copy of its own (see light_moto).
    """

    def __init__(self, tables: Tables) -> None:
        self._names = (tables.keys.name, tables.main.name)
        self._were = [_copied(items) for items in self._items()]

    def back(self) -> None:
        """Forget whatever was written since."""
        for items, were in zip(self._items(), self._were, strict=True):
            items.clear()
            items.update(_copied(were))

    def _items(self) -> list[dict[Any, Any]]:
        # Asked for each time: a transaction that fails leaves another table object behind.
        backend = dynamodb_backends[ACCOUNT][REGION]
        return [backend.get_table(name).items for name in self._names]


def _copied(items: dict[Any, Any]) -> dict[Any, Any]:
    return {
        name: dict(entry) if isinstance(entry, dict) else entry for name, entry in items.items()
    }
