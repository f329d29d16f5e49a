"""Counts the write units of every request to a table in memory, as DynamoDB bills them.

An item costs one unit for each KiB of its larger image, double in a transaction. An index costs
one unit for each entry that is added, removed or changed. A refused condition costs as much as the
item that refused it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, local
from typing import Any

from support.aws.memory_dynamo import MemoryDynamo

UNIT = 1_024  # bytes

Image = dict[str, Any]
Images = dict[tuple[str, str], Image]


def size_of(item: Mapping[str, Any]) -> int:
    """Return the bytes of an item as DynamoDB counts them: names and values."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    [(kind, content)] = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "B":
        return len(content)
    if kind == "N":
        return len(content.strip("-0").replace(".", "")) // 2 + 2  # two digits a byte
    if kind == "M":
        return 3 + size_of(content) + len(content)
    if kind == "L":
        return 3 + sum(map(_size, content)) + len(content)
    return 1


class WriteUnits:
    """The requests by operation, and the write units by kind of item and by index."""

    def __init__(self, client: MemoryDynamo, table: str, properties: Mapping[str, Any]) -> None:
        """`properties` are the table's in the template."""
        self.requests: Counter[str] = Counter()
        self.units: Counter[str] = Counter()
        self._items = client.table(table).items
        self._indexes = {
            one["IndexName"]: [key["AttributeName"] for key in one["KeySchema"]]
            for one in properties["GlobalSecondaryIndexes"]
        }
        self._lock = Lock()
        self._asked = local()

    def before(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        """Keep the images of the items that a request may write."""
        places = _places(model.name, params)
        self._asked.before = {place: self._items.get(place, {}) for place in places}

    def after(self, model: Any, parsed: Mapping[str, Any], **_: Any) -> None:
        """Count a request by the images before and after it."""
        before: Images = self._asked.before
        factor = 1 + (model.name == "TransactWriteItems")
        with self._lock:
            self.requests[model.name] += 1
            for place, old in before.items():
                new = old if "Error" in parsed else self._items.get(place, {})
                self._pay(place, old, new, factor=factor)

    def _pay(self, place: tuple[str, str], old: Image, new: Image, *, factor: int) -> None:
        kind = place[0].partition("#")[0].lower()
        self.units[kind] += factor * max(1, -(-max(size_of(old), size_of(new)) // UNIT))
        for index, names in self._indexes.items():
            was, stands = ([item.get(name) for name in names] for item in (old, new))
            if was != stands:
                there = sum(all(name in item for name in names) for item in (old, new))
                if there:
                    self.units[f"index {index}"] += there


def _places(operation: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    if operation == "TransactWriteItems":
        writes = [one for write in params["TransactItems"] for one in write.values()]
    else:
        writes = [params] if operation in {"PutItem", "UpdateItem", "DeleteItem"} else []
    keys = [one.get("Item") or one["Key"] for one in writes]
    return [(key["pk"]["S"], key["sk"]["S"]) for key in keys]


@contextmanager
def counted(
    client: MemoryDynamo, table: str, properties: Mapping[str, Any]
) -> Iterator[WriteUnits]:
    """Count a client's requests until the block ends."""
    units = WriteUnits(client, table, properties)
    events = client.meta.events
    events.register("provide-client-params.dynamodb", units.before)
    events.register("after-call.dynamodb", units.after)
    try:
        yield units
    finally:
        events.unregister("provide-client-params.dynamodb", units.before)
        events.unregister("after-call.dynamodb", units.after)
