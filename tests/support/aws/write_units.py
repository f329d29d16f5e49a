"""Counts the requests to a table in memory, and the write units that DynamoDB bills for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.aws.capacity import write_units
from support.aws.memory_dynamo import Change, MemoryDynamo


@dataclass
class Counted:
    """The requests by operation, and the write units by kind of item and by index."""

    requests: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)


@contextmanager
def counted(client: MemoryDynamo) -> Iterator[Counted]:
    """Count a client's requests until the block ends."""
    counts = Counted()

    def admit(changes: Sequence[Change], *, together: bool) -> None:
        for name, old, new in changes:
            units = write_units(name, client.table(name), old, new, together=together)
            for (_, index, pk), number in units.items():
                kind = f"index {index}" if index else pk.partition("#")[0].lower()
                counts.units[kind] += number

    def ended(model: Any, **_: Any) -> None:
        counts.requests[model.name] += 1

    client.meta.events.register("after-call.dynamodb", ended)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_admit", admit)
        try:
            yield counts
        finally:
            client.meta.events.unregister("after-call.dynamodb", ended)
