"""What reads and writes cost, and how much a partition has: DynamoDB's capacity units.

A partition key has a partition of its own here, of the table and of each index, and none is ever
split: the least that DynamoDB gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatehouse.core.clock import SECOND, Micros
from support.aws.expressions import Item, plain
from support.aws.memory_table import Index, MemoryTable, size_of

# A table's name, an index's name ("" for the table itself), and a partition key.
Partition = tuple[str, str, str]
Units = Mapping[Partition, float]


@dataclass
class _Bucket:
    left: float
    at: Micros


class Capacity:
    """Units a second for each partition, of which those of `burst` seconds can be saved.

    A partition takes a request as long as anything is left, and then owes what was too much.
    """

    def __init__(self, rate: float, burst: float, now: Callable[[], Micros]) -> None:
        self.rate = rate
        self.used: Counter[Partition] = Counter()
        self._most = rate * burst
        self._now = now
        self._buckets: dict[Partition, _Bucket] = {}

    def find_empty(self, units: Units) -> Partition | None:
        """Return the first of these partitions that has nothing left."""
        return next((one for one in units if self._left(one).left <= 0), None)

    def use(self, units: Units) -> None:
        """Take units from their partitions."""
        for partition, count in units.items():
            self._left(partition).left -= count
            self.used[partition] += count  # type: ignore[assignment]

    def _left(self, partition: Partition) -> _Bucket:
        now = self._now()
        bucket = self._buckets.get(partition)
        if bucket is None:
            bucket = self._buckets[partition] = _Bucket(self._most, now)
        more = (now - bucket.at) * self.rate / SECOND
        bucket.left, bucket.at = min(self._most, bucket.left + more), now
        return bucket


def write_units(
    name: str, table: MemoryTable, old: Item | None, new: Item | None, *, together: bool
) -> Counter[Partition]:
    """Return what one write costs: a unit for each KB of the larger image, two in a transaction.

    An index costs a unit for each KB of an entry that appears, changes or disappears.
    """
    units: Counter[Partition] = Counter()
    there = new or old
    size = 0 if old is None else table.size_of_stored(old)
    if new is not None and new is not old:
        size = max(size, size_of(new))
    larger = max(1, -(-size // 1_024))
    pk = "" if there is None else there["pk"]["S"]
    units[name, "", pk] = larger * (2 if together else 1)
    if old is new:
        return units  # a condition was checked, or failed
    for index in table.indexes:
        before, after = _entry(index, old), _entry(index, new)
        if before is after or before == after:
            continue
        moved = before is None or after is None or _key(index, before) != _key(index, after)
        if before is not None and moved:
            units[name, index.name, _partition(index, before)] += _kilobytes(before)
        if after is not None:
            units[name, index.name, _partition(index, after)] += _kilobytes(after)
    return units


def read_units(size: int, *, consistent: bool) -> float:
    """Return what reading so many bytes costs: a unit for each 4 KB, half of it if eventually."""
    return max(1, -(-size // 4_096)) * (1.0 if consistent else 0.5)


def _kilobytes(item: Item | None) -> int:
    return 0 if item is None else max(1, -(-size_of(item) // 1_024))


def _entry(index: Index, item: Item | None) -> Item | None:
    """Return the entry of an item in an index, None where it has none."""
    if item is None or index.partition_key not in item:
        return None
    if index.sort_key is not None and index.sort_key not in item:
        return None
    if index.kept is None:
        return item
    return {name: item[name] for name in index.kept if name in item}


def _key(index: Index, entry: Item) -> tuple[object, object]:
    return entry[index.partition_key], entry.get(index.sort_key or "")


def _partition(index: Index, entry: Item) -> str:
    return str(plain(entry[index.partition_key]))
