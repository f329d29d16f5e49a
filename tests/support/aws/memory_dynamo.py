"""DynamoDB in memory: a client with the operations that the rooms use, and no others.

It answers and fails as `gatehouse.dynamo.client` does, and emits botocore's events around each
call, so that a test can watch or disturb it. What it answers is compared with moto, operation by
operation, in tests/conformance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from threading import RLock
from types import SimpleNamespace
from typing import Any

from botocore.hooks import HierarchicalEmitter

from gatehouse.dynamo.answers import CallRefused
from gatehouse.dynamo.attributes import unmarshal
from support.aws.expressions import (
    InvalidExpression,
    Item,
    check_placeholders,
    condition,
    holds,
    matches,
    updated,
)
from support.aws.memory_table import MemoryTable

_MAX_TOGETHER = 100  # writes of a transaction, or keys of a batch
_MAX_BATCH_WRITES = 25

# A table's name, and an item before and after a write; None where there is none.
Change = tuple[str, Item | None, Item | None]


class Exceptions:
    """Error classes by code, as a client of botocore has them."""

    ClientError = CallRefused

    def __getattr__(self, code: str) -> type[CallRefused]:
        return _error_class(code)


@cache
def _error_class(code: str) -> type[CallRefused]:
    return type(code, (CallRefused,), {})


def client_error(operation: str, code: str, **parsed: Any) -> CallRefused:
    """Make the error that the client raises for an answer."""
    answer: Any = {"Error": {"Code": code, "Message": f"{code} from memory"}, **parsed}
    return _error_class(code)(answer, operation)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str, **parsed: Any) -> None:
        super().__init__(code)
        self.parsed = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": 400},
            **parsed,
        }


class MemoryDynamo:
    """A client. `add_table` makes a table; `table` shows one. Threads may share it."""

    def __init__(self) -> None:
        self.meta = SimpleNamespace(events=HierarchicalEmitter(), region_name="us-east-1")
        self.exceptions = Exceptions()
        self._tables: dict[str, MemoryTable] = {}
        self._lock = RLock()

    def add_table(self, name: str, properties: Mapping[str, Any]) -> None:
        """Make a table from the properties that the template has of it."""
        self._tables[name] = MemoryTable(properties)

    def drop_table(self, name: str) -> None:
        """Remove a table."""
        del self._tables[name]

    def table(self, name: str) -> MemoryTable:
        """Return a table by name, or fail as DynamoDB does."""
        if name not in self._tables:
            raise Refused("ResourceNotFoundException", f"Requested resource not found: {name}")
        return self._tables[name]

    # ---- Operations ------------------------------------------------------------------------------

    def get_item(self, **request: Any) -> Item:
        """Read an item."""
        return self._call("GetItem", request, self._get)

    def batch_get_item(self, **request: Any) -> Item:
        """Read items by key."""
        return self._call("BatchGetItem", request, self._batch_get)

    def query(self, **request: Any) -> Item:
        """Read a partition of a table or of an index."""
        return self._call("Query", request, self._query)

    def scan(self, **request: Any) -> Item:
        """Read a table or an index."""
        return self._call("Scan", request, self._scan)

    def put_item(self, **request: Any) -> Item:
        """Write an item."""
        return self._call("PutItem", request, lambda one: self._write("Put", one))

    def update_item(self, **request: Any) -> Item:
        """Change an item."""
        return self._call("UpdateItem", request, lambda one: self._write("Update", one))

    def delete_item(self, **request: Any) -> Item:
        """Delete an item."""
        return self._call("DeleteItem", request, lambda one: self._write("Delete", one))

    def batch_write_item(self, **request: Any) -> Item:
        """Write items, each by itself."""
        return self._call("BatchWriteItem", request, self._batch_write)

    def transact_write_items(self, **request: Any) -> Item:
        """Write items together or not at all."""
        return self._call("TransactWriteItems", request, self._transact)

    def _call(self, name: str, request: Item, act: Callable[[Item], Item]) -> Item:
        events, model = self.meta.events, SimpleNamespace(name=name)
        events.emit(f"provide-client-params.dynamodb.{name}", params=request, model=model)
        _, answer = events.emit_until_response(f"before-call.dynamodb.{name}", model=model)
        if answer is None:
            with self._lock:
                status, parsed = self._answer(name, request, act)
        else:
            status, parsed = answer[0].status_code, answer[1]
        events.emit(f"after-call.dynamodb.{name}", model=model, parsed=parsed)
        if status >= 300:
            raise _error_class(parsed["Error"]["Code"])(parsed, name)
        return parsed

    def _answer(self, name: str, request: Item, act: Callable[[Item], Item]) -> tuple[int, Item]:
        """Return the HTTP status and the body of an answer."""
        del name
        try:
            return 200, act(request)
        except InvalidExpression as invalid:
            return 400, Refused("ValidationException", str(invalid)).parsed
        except Refused as refused:
            return 400, refused.parsed

    # ---- For a table with limits -----------------------------------------------------------------

    def _readable(self, name: str, index: str | None) -> MemoryTable:
        """Return the table that a query or a scan of it, or of its index, reads."""
        del index
        return self.table(name)

    def _admit(self, changes: Sequence[Change], *, together: bool) -> None:
        """Do nothing; a table with limits refuses here. Called before items are stored.

        A condition that fails changes an item to itself. `together`: in a transaction.
        """

    # ---- What they do ----------------------------------------------------------------------------

    def _get(self, request: Item) -> Item:
        found = self.table(request["TableName"]).get(request["Key"])
        return {} if found is None else {"Item": found}

    def _batch_get(self, request: Item) -> Item:
        answer: Item = {"Responses": {}, "UnprocessedKeys": {}}
        for name, wanted in request["RequestItems"].items():
            table, keys = self.table(name), wanted["Keys"]
            if not 0 < len(keys) <= _MAX_TOGETHER:
                raise InvalidExpression(f"1 to {_MAX_TOGETHER} keys can be read together")
            if len({str(sorted(key.items())) for key in keys}) < len(keys):
                raise InvalidExpression("provided list of item keys contains duplicates")
            found = [table.get(key) for key in keys]
            answer["Responses"][name] = [item for item in found if item is not None]
        return answer

    def _query(self, request: Item) -> Item:
        check_placeholders(request)
        _check_consistency(request)
        index = request.get("IndexName")
        table = self._readable(request["TableName"], index)
        values = request["ExpressionAttributeValues"]
        names = request.get("ExpressionAttributeNames", {})
        first, _, rest = request["KeyConditionExpression"].partition(" AND ")
        name, sign, value = first.split()
        used = table.index(index)
        if (names.get(name, name), sign) != (used.partition_key, "="):
            raise InvalidExpression("query condition missed key schema element")
        test = condition(rest) if rest else None
        _check_range(rest, values)
        page, last = table.query(
            values[value],
            index=index,
            test=lambda item: test is None or test(item, values, names),
            forward=request.get("ScanIndexForward", True),
            start=request.get("ExclusiveStartKey"),
            limit=request.get("Limit"),
        )
        answer = _answered(page, page, last)
        if request.get("Select") == "COUNT":
            del answer["Items"]
        return answer

    def _scan(self, request: Item) -> Item:
        check_placeholders(request)
        _check_consistency(request)
        index = request.get("IndexName")
        page, last = self._readable(request["TableName"], index).scan(
            index=index,
            start=request.get("ExclusiveStartKey"),
            limit=request.get("Limit"),
        )
        return _answered([item for item in page if matches(request, item)], page, last)

    def _write(self, kind: str, request: Item) -> Item:
        old, name = self._checked(kind, request), request["TableName"]
        if not holds(request, old):
            self._admit([(name, old, old)], together=False)
            shown = {"Item": old} if old is not None and _wants_old(request) else {}
            raise Refused(
                "ConditionalCheckFailedException", "The conditional request failed", **shown
            )
        new = self._written(kind, request, old)
        self._admit([(name, old, new)], together=False)
        self._store(kind, request, new)
        shown = {"ALL_NEW": new, "ALL_OLD": old}.get(request.get("ReturnValues", "NONE"))
        return {} if shown is None else {"Attributes": shown}

    def _batch_write(self, request: Item) -> Item:
        writes = [
            (name, *one)
            for name, many in request["RequestItems"].items()
            for write in many
            for one in write.items()
        ]
        if not 0 < len(writes) <= _MAX_BATCH_WRITES:
            raise InvalidExpression(f"1 to {_MAX_BATCH_WRITES} items can be written together")
        for name, kind, wanted in writes:
            self._write(kind.removesuffix("Request"), {"TableName": name, **wanted})
        return {"UnprocessedItems": {}}

    def _transact(self, request: Item) -> Item:
        writes = [one for write in request["TransactItems"] for one in write.items()]
        if not 0 < len(writes) <= _MAX_TOGETHER:
            raise InvalidExpression(f"1 to {_MAX_TOGETHER} items can be written together")
        reasons: list[Item] = []
        steps: list[tuple[str, Item, Item | None]] = []
        keys: set[str] = set()
        for kind, wanted in writes:
            old = self._checked(kind, wanted)
            key = self.table(wanted["TableName"]).key_of(wanted.get("Item") or wanted["Key"])
            keys.add(f"{wanted['TableName']} {sorted(key.items())}")
            reason: Item = {"Code": "None"}
            if not holds(wanted, old):
                reason = {
                    "Code": "ConditionalCheckFailed",
                    "Message": "The conditional request failed",
                }
                if old is not None and _wants_old(wanted):
                    reason["Item"] = old
            reasons.append(reason)
            steps.append((kind, wanted, old))
        if len(keys) < len(writes):
            raise InvalidExpression("a transaction cannot include several operations on one item")
        if any(reason["Code"] != "None" for reason in reasons):
            self._admit([(step[1]["TableName"], step[2], step[2]) for step in steps], together=True)
            codes = ", ".join(reason["Code"] for reason in reasons)
            raise Refused(
                "TransactionCanceledException",
                f"Transaction cancelled, please refer cancellation reasons [{codes}]",
                CancellationReasons=reasons,
            )
        written = [self._written(*step) for step in steps]
        changes = [
            (wanted["TableName"], old, old if kind == "ConditionCheck" else new)
            for (kind, wanted, old), new in zip(steps, written, strict=True)
        ]
        self._admit(changes, together=True)
        for (kind, wanted, _), new in zip(steps, written, strict=True):
            self._store(kind, wanted, new)
        return {}

    def _checked(self, kind: str, request: Item) -> Item | None:
        """Return the stored item that a write is about."""
        table = self.table(request["TableName"])
        check_placeholders(request)
        if kind != "Put":
            return table.get(request["Key"])
        table.check_item(request["Item"])
        return table.get(table.key_of(request["Item"]))

    def _written(self, kind: str, request: Item, old: Item | None) -> Item | None:
        """Return the item that a write leaves, None where it leaves none or changes none."""
        if kind == "Put":
            return dict(request["Item"])
        if kind != "Update":
            return None
        new = updated(request, old)
        self.table(request["TableName"]).check_item(new)
        return new

    def _store(self, kind: str, request: Item, new: Item | None) -> None:
        table = self.table(request["TableName"])
        if new is not None:
            table.put(new)
        elif kind == "Delete":
            table.delete(request["Key"])


def _check_consistency(request: Item) -> None:
    if "IndexName" in request and request.get("ConsistentRead"):
        raise InvalidExpression("consistent reads are not supported on secondary indexes")


def _check_range(range_: str, values: Item) -> None:
    """Refuse a range of keys whose end is before its beginning, as DynamoDB does and moto not."""
    _, between, bounds = range_.partition(" BETWEEN ")
    if not between:
        return
    low, high = (unmarshal({"bound": values[one]})["bound"] for one in bounds.split(" AND "))
    if low > high:
        raise InvalidExpression("BETWEEN requires an upper bound that is not below the lower one")


def _wants_old(request: Item) -> bool:
    return request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"


def _answered(items: list[Item], scanned: list[Item], last: Item | None) -> Item:
    answer: Item = {"Items": items, "Count": len(items), "ScannedCount": len(scanned)}
    if last is not None:
        answer["LastEvaluatedKey"] = last
    return answer
