"""The tables as they stood, for tests that begin from the same state many times."""

from __future__ import annotations

from gatehouse.dynamo.table import Tables
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.memory_table import MemoryTable


class Rewind:
    """A copy of both tables; `back()` restores them."""

    def __init__(self, tables: Tables) -> None:
        self._copies = [(table, table.copy()) for table in _in_memory(tables)]

    def back(self) -> None:
        """Undo everything that was written since."""
        for table, items in self._copies:
            table.restore(items)


def _in_memory(tables: Tables) -> list[MemoryTable]:
    client = tables.main.client
    assert isinstance(client, MemoryDynamo)
    return [client.table(name) for name in (tables.keys.name, tables.main.name)]
