"""A DynamoDB table: plain values in and out, its errors as those of `transactions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.attributes import marshal, unmarshal
from gatehouse.dynamo.transactions import (
    ConditionFailed,
    Item,
    TransactionCanceled,
    TransactionConflict,
    Write,
    call,
    transact,
)
from gatehouse.dynamo.write_builder import WriteBuilder, conditional

if TYPE_CHECKING:
    from gatehouse.dynamo.client import DynamoClient

# Stores import the table, its writes and its errors from here.
__all__ = [
    "ConditionFailed",
    "Item",
    "Table",
    "Tables",
    "TransactionCanceled",
    "TransactionConflict",
    "Write",
    "call",
    "transact",
]


_BATCH = 100  # keys that BatchGetItem takes
# DynamoDB leaves keys of a batch unread when the table is throttled.
_UNPROCESSED = Backoff(4, first=0.02)


@dataclass(frozen=True, slots=True)
class Table(WriteBuilder):
    """One table by name."""

    client: DynamoClient = field(repr=False)

    def check_readable(self, *, key: Sequence[str]) -> None:
        """Raise Unavailable unless the table answers a read; `key` names its key attributes.

        Reads an item that never exists: describing the table would be a control plane request,
        and an AWS account has few of those a second.
        """
        self.get(dict.fromkeys(key, keyspace.READY.prefix))

    def get(self, key: Mapping[str, Any]) -> Item | None:
        """Read one item, consistently; None if there is none."""
        answer = call(
            self.client.get_item, TableName=self.name, Key=marshal(key), ConsistentRead=True
        )
        return unmarshal(answer["Item"]) if "Item" in answer else None

    def query(
        self,
        pk: str,
        *,
        after: Mapping[str, Any] | None = None,
        newest_first: bool = False,
        limit: int,
        index: str | None = None,
        pk_name: str = "pk",
        below: str | None = None,
    ) -> tuple[list[Item], bool]:
        """Read up to `limit` items of a partition in sort-key order; True: there may be more.

        The table is read consistently; an index cannot be. `after` is the key of the last item of
        the page before. `below` reads only sort keys less than it.
        """
        condition, values = "#pk = :pk", {":pk": pk}
        names = {"#pk": pk_name}
        if below is not None:
            condition += " AND #sk < :below"
            names["#sk"] = "sk"
            values[":below"] = below
        request: dict[str, Any] = {
            "TableName": self.name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": marshal(values),
            "ScanIndexForward": not newest_first,
            "Limit": limit,
        }
        if index is None:
            request["ConsistentRead"] = True
        else:
            request["IndexName"] = index
        if after is not None:
            request["ExclusiveStartKey"] = marshal(after)
        answer = call(self.client.query, **request)
        return [unmarshal(item) for item in answer["Items"]], "LastEvaluatedKey" in answer

    def between(
        self,
        pk: str,
        *,
        index: str,
        names: tuple[str, str],
        low: str | int | None = None,
        high: str | int | None = None,
        newest_first: bool = False,
        limit: int,
    ) -> list[Item]:
        """Read up to `limit` items of an index's partition, from `low` to `high` inclusive.

        `names` are the index's key attributes. An index lags behind the table by moments. A range
        whose `low` is above its `high` is empty.
        """
        if low is not None and high is not None and low > high:  # type: ignore[operator]
            return []  # DynamoDB refuses such a range
        condition, values = "#pk = :pk", {":pk": pk, ":low": low, ":high": high}
        if low is not None and high is not None:
            condition += " AND #sk BETWEEN :low AND :high"
        elif low is not None:
            condition += " AND #sk >= :low"
        elif high is not None:
            condition += " AND #sk <= :high"
        bound = {name: value for name, value in values.items() if value is not None}
        named = dict(zip(("#pk", "#sk"), names, strict=True))
        answer = call(
            self.client.query,
            TableName=self.name,
            IndexName=index,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=named if len(bound) > 1 else {"#pk": names[0]},
            ExpressionAttributeValues=marshal(bound),
            ScanIndexForward=not newest_first,
            Limit=limit,
        )
        return [unmarshal(item) for item in answer["Items"]]

    def count(self, pk: str, *, index: str, names: tuple[str, str], low: str) -> int:
        """Count the items of an index's partition from `low` on, inclusive.

        Reads page by page; DynamoDB returns numbers and no items.
        """
        request: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": index,
            "Select": "COUNT",
            "KeyConditionExpression": "#pk = :pk AND #sk >= :low",
            "ExpressionAttributeNames": dict(zip(("#pk", "#sk"), names, strict=True)),
            "ExpressionAttributeValues": marshal({":pk": pk, ":low": low}),
        }
        counted = 0
        while True:
            answer = call(self.client.query, **request)
            counted += int(answer["Count"])
            if "LastEvaluatedKey" not in answer:
                return counted
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def batch_get(self, keys: Sequence[Mapping[str, str]]) -> list[Item]:
        """Read items by key, consistently, in no order; missing ones are left out."""
        return list(self._batch_get(keys, consistent=True))

    def batch_get_eventually(self, keys: Sequence[Mapping[str, str]]) -> list[Item]:
        """Read as `batch_get` does, but eventually consistent, at half the cost."""
        return list(self._batch_get(keys, consistent=False))

    def _batch_get(self, keys: Sequence[Mapping[str, str]], *, consistent: bool) -> Iterator[Item]:
        for start in range(0, len(keys), _BATCH):
            unread: Any = [marshal(key) for key in keys[start : start + _BATCH]]
            for _ in _UNPROCESSED.tries():
                request: dict[str, Any] = {"Keys": unread}
                if consistent:
                    request["ConsistentRead"] = True
                answer = call(self.client.batch_get_item, RequestItems={self.name: request})
                yield from map(unmarshal, answer["Responses"].get(self.name, []))
                unread = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                if not unread:
                    break
            else:
                raise Unavailable

    def insert(self, item: Item) -> None:
        """Write a new item. Raises ConditionFailed with the existing item if there is one."""
        call(
            self.client.put_item,
            TableName=self.name,
            Item=marshal(item),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    def write(self, write: Write) -> None:
        """Do one write by itself, at half of what it costs in a transaction.

        Raises ConditionFailed with the existing item, TransactionConflict, Unavailable.
        """
        if write.kind == "Put":
            call(self.client.put_item, **write.request)
        elif write.kind == "Update":
            call(self.client.update_item, **write.request)
        elif write.kind == "Delete":
            call(self.client.delete_item, **write.request)
        else:
            raise ValueError(f"{write.kind} cannot be done by itself")

    def query_all(self, pk: str) -> Iterator[Item]:
        """Read a whole partition, consistently, page by page."""
        after: Mapping[str, Any] | None = None
        more = True
        while more:
            items, more = self.query(pk, after=after, limit=500)
            yield from items
            if items:
                after = {"pk": items[-1]["pk"], "sk": items[-1]["sk"]}

    def update(
        self,
        key: Mapping[str, Any],
        expression: str,
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Item:
        """Update one item under a condition; return the updated item (ALL_NEW).

        Raises ConditionFailed with the old item, TransactionConflict, Unavailable.
        """
        answer = call(
            self.client.update_item,
            TableName=self.name,
            Key=marshal(key),
            UpdateExpression=expression,
            **conditional(condition, names, values),
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return unmarshal(answer["Attributes"])

    def take(
        self,
        key: Mapping[str, Any],
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Item:
        """Delete one item under a condition; return it as it was (ALL_OLD).

        Raises ConditionFailed, TransactionConflict, Unavailable.
        """
        answer = call(
            self.client.delete_item,
            TableName=self.name,
            Key=marshal(key),
            **conditional(condition, names, values),
            ReturnValues="ALL_OLD",
        )
        return unmarshal(answer["Attributes"])


@dataclass(frozen=True, slots=True)
class Tables:
    """Both tables: `keys` is looked up on every request, `main` holds the rest."""

    keys: Table
    main: Table

    def batch_get_keys(self, pks: Sequence[str]) -> dict[str, Item]:
        """Read looked-up items by partition key, eventually consistent; missing are left out."""
        items = self.keys.batch_get_eventually([{"pk": pk} for pk in pks])
        return {item["pk"]: item for item in items}
