"""DynamoDB in memory, in virtual time, with its latencies, limits and locks.

A partition of the table and of each index has 1,000 write and 3,000 read units a second. A write
is refused where the table or an index it changes has none left. A transaction locks its items from
its prepare to its commit, and other writes of them fail. An index shows a write after a lag. What
is called outside of a run takes no time and is never refused.

Latencies are about what a client in the same region measures; a test may set others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo.answers import CallRefused
from support.aws.capacity import Capacity, Partition, read_units, write_units
from support.aws.expressions import Item
from support.aws.memory_dynamo import Change, MemoryDynamo, Refused
from support.aws.memory_table import MemoryTable, size_of
from support.aws.virtual_time import VirtualTime

LATENCIES = {
    "GetItem": 0.003,
    "Query": 0.004,
    "Scan": 0.004,
    "BatchGetItem": 0.005,
    "PutItem": 0.005,
    "UpdateItem": 0.005,
    "DeleteItem": 0.005,
    "BatchWriteItem": 0.008,
    "TransactWriteItems": 0.016,
}
_FREE_BYTES = 4_096  # of an answer, whose reading is part of the latency
_THROTTLED = frozenset({"ThrottlingException", "ProvisionedThroughputExceededException"})

Place = tuple[str, str, str]  # a table's name, and the key of an item
Watch = Callable[[str, Item | None, Item | None], None]


@dataclass(frozen=True)
class Limits:
    """What the table can do. Times are in seconds, rates in units a second and partition key.

    `locked` is the part of a transaction's time during which it locks its items; `kilobyte` is
    added for each KB that a query or a batch reads. The client tries `attempts` times in all where
    it was throttled, and waits up to `first_wait` before the second, doubling.
    """

    writes: float = 1_000
    reads: float = 3_000
    burst: float = 1.0
    latencies: Mapping[str, float] = field(default_factory=lambda: LATENCIES)
    jitter: tuple[float, float] = (0.8, 1.4)
    locked: float = 0.5
    kilobyte: float = 0.00005
    index_lag: float = 0.02
    attempts: int = 2
    first_wait: float = 1.0


class ThrottledDynamo(MemoryDynamo):
    """A client of the table in memory for code that runs in virtual time."""

    def __init__(self, time: VirtualTime, limits: Limits | None = None) -> None:
        super().__init__()
        self.limits = limits or Limits()
        self.writes = Capacity(self.limits.writes, self.limits.burst, lambda: time.now)
        self.reads = Capacity(self.limits.reads, self.limits.burst, lambda: time.now)
        self.calls: Counter[str] = Counter()
        self.refused: Counter[Partition] = Counter()  # how often a partition refused
        self.conflicts = 0
        self.watchers: list[Watch] = []
        self._time = time
        self._locked: set[Place] = set()
        self._copies: dict[str, MemoryTable] = {}
        self._behind: deque[tuple[Micros, str, Item | None, Item | None]] = deque()
        self._read_bytes = 0

    def add_table(self, name: str, properties: Mapping[str, Any]) -> None:
        """Make a table, and the copy of it that its indexes are read from."""
        super().add_table(name, properties)
        self._copies[name] = MemoryTable(properties)

    def load(self, name: str, items: Iterable[Item]) -> None:
        """Store items as they are, at once."""
        for item in items:
            self.table(name).put(item)
            self._copies[name].put(item)

    # ---- A call: it takes effect at its end ------------------------------------------------------

    def _call(self, name: str, request: Item, act: Callable[[Item], Item]) -> Item:
        if self._time.actor is None:
            return super()._call(name, request, act)
        for attempt in range(1, self.limits.attempts):
            try:
                return self._sent(name, request, act)
            except CallRefused as error:
                if error.response["Error"]["Code"] not in _THROTTLED:
                    raise
            wait = self.limits.first_wait * 2 ** (attempt - 1)
            self._time.sleep(self._time.rng.uniform(0, wait))
        return self._sent(name, request, act)

    def _sent(self, name: str, request: Item, act: Callable[[Item], Item]) -> Item:
        self.calls[name] += 1
        latency = self.limits.latencies[name] * self._time.rng.uniform(*self.limits.jitter)
        if name == "TransactWriteItems":
            return self._transaction(request, act, latency)
        self._time.sleep(latency)
        self._read_bytes = 0
        try:
            return super()._call(name, request, act)
        finally:
            if self._read_bytes > _FREE_BYTES:
                self._time.sleep(self.limits.kilobyte * self._read_bytes / 1_024)

    def _transaction(self, request: Item, act: Callable[[Item], Item], latency: float) -> Item:
        self._time.sleep(latency * (1 - self.limits.locked))
        places = [_place(write) for one in request["TransactItems"] for write in one.values()]
        mine = {place for place in places if place not in self._locked}
        self._locked |= mine
        try:
            if len(mine) == len(places):
                self._time.sleep(latency * self.limits.locked)
            return super()._call(
                "TransactWriteItems", request, lambda one: self._committed(one, places, mine, act)
            )
        finally:
            self._locked -= mine

    def _committed(
        self, request: Item, places: Sequence[Place], mine: set[Place], act: Callable[[Item], Item]
    ) -> Item:
        if len(mine) < len(set(places)):
            self.conflicts += 1
            raise _canceled(
                ["None" if place in mine else "TransactionConflict" for place in places]
            )
        return act(request)

    # ---- What is refused -------------------------------------------------------------------------

    def _write(self, kind: str, request: Item) -> Item:
        if _place(request) in self._locked:
            self.conflicts += 1
            raise Refused("TransactionConflictException", "Transaction is ongoing for the item")
        return super()._write(kind, request)

    def _batch_write(self, request: Item) -> Item:
        unprocessed: Item = {}
        for name, writes in request["RequestItems"].items():
            for write in writes:
                try:
                    super()._batch_write({"RequestItems": {name: [write]}})
                except Refused:
                    unprocessed.setdefault(name, []).append(write)
        return {"UnprocessedItems": unprocessed}

    def _admit(self, changes: Sequence[Change], *, together: bool) -> None:
        units: Counter[Partition] = Counter()
        for name, old, new in changes:
            units.update(write_units(name, self.table(name), old, new, together=together))
        self._use(self.writes, units, writes=len(changes) if together else 0)
        shown_at = self._time.now + round(self.limits.index_lag * SECOND)
        for change in changes:
            if change[1] is not change[2]:
                self._behind.append((shown_at, *change))
                for watch in self.watchers:
                    watch(*change)

    def _use(self, capacity: Capacity, units: Counter[Partition], *, writes: int = 0) -> None:
        if self._time.actor is None:
            return
        empty = capacity.find_empty(units)
        if empty is None:
            capacity.use(units)
            return
        self.refused[empty] += 1
        if writes:
            raise _canceled(["ThrottlingError"] + ["None"] * (writes - 1))
        raise Refused("ThrottlingException", f"The partition {empty} has no capacity left")

    # ---- Reads -----------------------------------------------------------------------------------

    def _get(self, request: Item) -> Item:
        answer = super()._get(request)
        size = size_of(answer["Item"]) if "Item" in answer else 0
        self._read(request, "", request["Key"]["pk"]["S"], size)
        return answer

    def _batch_get(self, request: Item) -> Item:
        answer: Item = {"Responses": {}, "UnprocessedKeys": {}}
        whole = super()._batch_get(request)["Responses"]
        for name, wanted in request["RequestItems"].items():
            found = {_place({"TableName": name, "Key": one}): one for one in whole[name]}
            unread = []
            for key in wanted["Keys"]:
                item = found.pop(_place({"TableName": name, "Key": key}), None)
                try:
                    self._read(
                        {"TableName": name, **wanted},
                        "",
                        key["pk"]["S"],
                        0 if item is None else size_of(item),
                    )
                except Refused:
                    unread.append(key)
                    continue
                if item is not None:
                    answer["Responses"].setdefault(name, []).append(item)
            if unread:
                answer["UnprocessedKeys"][name] = {**wanted, "Keys": unread}
        return answer

    def _query(self, request: Item) -> Item:
        answer = super()._query({name: request[name] for name in request if name != "Select"})
        value = request["KeyConditionExpression"].split(" AND ")[0].split()[2]
        partition = str(*request["ExpressionAttributeValues"][value].values())
        size = sum(map(size_of, answer["Items"]))
        self._read(request, request.get("IndexName", ""), partition, size)
        if request.get("Select") == "COUNT":
            del answer["Items"]
        return answer

    def _read(self, request: Item, index: str, partition: str, size: int) -> None:
        units = read_units(size, consistent=bool(request.get("ConsistentRead")))
        self._use(self.reads, Counter({(request["TableName"], index, partition): units}))  # type: ignore[dict-item]
        self._read_bytes += size

    def _readable(self, name: str, index: str | None) -> MemoryTable:
        if index is None:
            return self.table(name)
        while self._behind and (self._behind[0][0] <= self._time.now or self._time.actor is None):
            _, changed, old, new = self._behind.popleft()
            if new is not None:
                self._copies[changed].put(new)
            elif old is not None:
                self._copies[changed].delete({key: old[key] for key in ("pk", "sk") if key in old})
        return self._copies[name]


def _place(write: Mapping[str, Any]) -> Place:
    item = write.get("Item") or write["Key"]
    return write["TableName"], item["pk"]["S"], item.get("sk", {"S": ""})["S"]


def _canceled(codes: Sequence[str]) -> Refused:
    return Refused(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons [{', '.join(codes)}]",
        CancellationReasons=[{"Code": code} for code in codes],
    )
