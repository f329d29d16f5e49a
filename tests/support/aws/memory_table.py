"""One DynamoDB table in memory: items by key, and every partition and index in key order.

Items are in DynamoDB's own form and are never changed in place: a write stores another item.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.aws.expressions import InvalidExpression, Item, plain

_MAX_ITEM = 400 * 1024  # bytes
_MAX_PAGE = 1_000_000  # bytes
_MAX_KEY = {"pk": 2_048, "sk": 1_024}  # bytes
_NOTHING = {"S": ""}

Place = tuple[str, Any]  # an index's name, "" for the table itself, and a partition key
Entry = tuple[Any, str, str]  # sort key, and the key of the item in the table
Page = tuple[list[Item], Item | None]  # items, and the last key where there may be more


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index. `kept` names the attributes it holds, None for all of them."""

    name: str
    partition_key: str
    sort_key: str | None
    kept: frozenset[str] | None


class MemoryTable:
    """A table as the template's properties describe it."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.keys = tuple(key["AttributeName"] for key in properties["KeySchema"])
        self.items: dict[tuple[str, str], Item] = {}
        self._types = {
            one["AttributeName"]: one["AttributeType"] for one in properties["AttributeDefinitions"]
        }
        self._indexes = {
            one["IndexName"]: self._read(one)
            for one in properties.get("GlobalSecondaryIndexes", [])
        }
        self._sorted: dict[Place, list[Entry]] = {}
        self._sizes: dict[tuple[str, str], int] = {}  # bytes; of items that were read

    def copy(self) -> dict[tuple[str, str], Item]:
        """Return all items, for `restore`."""
        return dict(self.items)

    def restore(self, items: Mapping[tuple[str, str], Item]) -> None:
        """Replace all items by those of a copy."""
        for key in [key for key, item in self.items.items() if items.get(key) is not item]:
            self._delete(key)
        for key, item in items.items():
            if key not in self.items:
                self._insert(key, item)

    def get(self, key: Item) -> Item | None:
        """Return the item of a key."""
        self.check_key(key)
        return self.items.get(_names(key))

    def key_of(self, item: Item) -> Item:
        """Return an item's key."""
        return {name: item[name] for name in self.keys if name in item}

    def put(self, item: Item) -> None:
        """Store an item in place of any that has its key."""
        key = _names(item)
        self._delete(key)
        self._insert(key, item)

    def delete(self, key: Item) -> None:
        """Delete an item, if there is one."""
        self._delete(_names(key))

    def query(
        self,
        partition: Item,
        *,
        index: str | None,
        test: Callable[[Item], bool],
        forward: bool,
        start: Item | None,
        limit: int | None,
    ) -> Page:
        """Return a page of one partition, in the order of the sort key."""
        used = self.index(index)
        entries = self._sorted.get((index or "", plain(partition)), [])
        if start is not None:
            entry = _entry(used, start)
            entries = (
                entries[bisect_right(entries, entry) :]
                if forward
                else entries[: bisect_left(entries, entry)]
            )
        ordered: Any = entries if forward else reversed(entries)
        return self._page(used, (self.items[pk, sk] for _, pk, sk in ordered), test, limit)

    def scan(self, *, index: str | None, start: Item | None, limit: int | None) -> Page:
        """Return a page of the table or of an index, in the order of the keys."""
        used = self.index(index)

        def order(item: Item) -> tuple[Any, ...]:
            return (plain(item[used.partition_key]), *_entry(used, item))

        there = [
            item
            for item in self.items.values()
            if used.partition_key in item and (used.sort_key is None or used.sort_key in item)
        ]
        there.sort(key=order)
        if start is not None:
            after = order(start)
            there = [item for item in there if order(item) > after]
        return self._page(used, iter(there), lambda _: True, limit)

    def has_partition(self, partition: str) -> bool:
        """Return whether a partition of the table holds anything."""
        return bool(self._sorted.get(("", partition)))

    def lowest(self, index: str) -> Any:
        """Return the lowest sort key in an index, None where it holds nothing."""
        lowest = (
            entries[0][0]
            for (name, _), entries in self._sorted.items()
            if name == index and entries
        )
        return min(lowest, default=None)

    def check_key(self, key: Item) -> None:
        """Raise InvalidExpression unless this is the key of an item."""
        if set(key) != set(self.keys):
            raise InvalidExpression("the provided key element does not match the schema")
        self._check_types(key)

    def check_item(self, item: Item) -> None:
        """Raise InvalidExpression for an item that DynamoDB does not store."""
        if missing := [name for name in self.keys if name not in item]:
            raise InvalidExpression(f"missing the key {missing[0]} in the item")
        self._check_types(item)
        if size_of(item) > _MAX_ITEM:
            raise InvalidExpression("item size has exceeded the maximum allowed size")

    def _check_types(self, item: Item) -> None:
        for name, kind in self._types.items():
            value = item.get(name)
            if value is None:
                continue
            if kind not in value:
                raise InvalidExpression(f"type mismatch for key {name}: {kind} expected")
            if value[kind] in {"", b""}:
                raise InvalidExpression(f"the value of the key attribute {name} is empty")
            if name in _MAX_KEY and len(value[kind].encode()) > _MAX_KEY[name]:
                raise InvalidExpression(f"size of {name} has exceeded the maximum size limit")

    def _read(self, properties: Mapping[str, Any]) -> Index:
        partition, *rest = [key["AttributeName"] for key in properties["KeySchema"]]
        projection = properties["Projection"]
        kept = None
        if projection["ProjectionType"] != "ALL":
            kept = frozenset(
                (*self.keys, partition, *rest, *projection.get("NonKeyAttributes", ()))
            )
        return Index(properties["IndexName"], partition, rest[0] if rest else None, kept)

    @property
    def indexes(self) -> Collection[Index]:
        """The secondary indexes."""
        return self._indexes.values()

    def index(self, name: str | None) -> Index:
        """Return an index by its name, the table itself for None."""
        if name is None:
            return Index("", self.keys[0], self.keys[1] if len(self.keys) > 1 else None, None)
        if name not in self._indexes:
            raise InvalidExpression(f"the table does not have the specified index: {name}")
        return self._indexes[name]

    def _page(
        self, used: Index, items: Iterator[Item], test: Callable[[Item], bool], limit: int | None
    ) -> Page:
        page: list[Item] = []
        size = 0
        for item in items:
            more = self.size_of_stored(item)
            if len(page) == limit or (page and size + more > _MAX_PAGE):
                # As moto. DynamoDB names a last key wherever a page is full.
                names = {*self.keys, used.partition_key, used.sort_key}
                return page, {name: page[-1][name] for name in names if name in page[-1]}
            if not test(item):
                continue
            size += more
            kept = used.kept
            page.append(
                item if kept is None else {name: item[name] for name in item if name in kept}
            )
        return page, None

    def size_of_stored(self, item: Item) -> int:
        """Return the size of an item that is stored."""
        key = _names(item)
        if key not in self._sizes:
            self._sizes[key] = size_of(item)
        return self._sizes[key]

    def _insert(self, key: tuple[str, str], item: Item) -> None:
        self.items[key] = item
        for place, entry in self._entries(item):
            insort(self._sorted.setdefault(place, []), entry)

    def _delete(self, key: tuple[str, str]) -> None:
        self._sizes.pop(key, None)
        old = self.items.pop(key, None)
        if old is not None:
            for place, entry in self._entries(old):
                entries = self._sorted[place]
                del entries[bisect_left(entries, entry)]

    def _entries(self, item: Item) -> Iterator[tuple[Place, Entry]]:
        pk, sk = _names(item)
        yield ("", pk), (sk, pk, sk)
        for index in self._indexes.values():
            if index.partition_key in item and (index.sort_key is None or index.sort_key in item):
                yield (index.name, plain(item[index.partition_key])), _entry(index, item)


def _names(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item.get("sk", _NOTHING)["S"]


def _entry(index: Index, item: Item) -> Entry:
    pk, sk = _names(item)
    return (sk if index.sort_key is None else plain(item[index.sort_key]), pk, sk)


def size_of(item: Item) -> int:
    """Return an item's size in bytes, as DynamoDB counts it."""
    size = 0
    for name, value in item.items():
        size += len(name) if name.isascii() else len(name.encode())
        for kind, content in value.items():
            if kind == "S":
                size += len(content) if content.isascii() else len(content.encode())
            elif kind in {"N", "B"}:
                size += len(content)
            elif kind == "M":
                size += size_of(content)
            elif kind == "L":
                size += sum(size_of({"": one}) for one in content)
            else:
                size += 1
    return size
