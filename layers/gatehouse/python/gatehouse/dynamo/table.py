"""A table as the rooms see it: plain values in and out (`attributes`), errors in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatehouse.core.errors import Unavailable
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

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# The rooms name the table and what can go wrong with it in one breath.
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


@dataclass(frozen=True, slots=True)
class Table:
    """One table by name. `client` is botocore's or boto3's low-level client."""

    name: str
    client: DynamoDBClient = field(repr=False)

    def check_readable(self, *, key: Sequence[str]) -> None:
        """Raise Unavailable unless the table answers a read.

        A read of an item that is never there, since describing a table is a call of the control
        plane, of which an AWS account has few a second. `key` names the key's attributes.
        """
        self.get(dict.fromkeys(key, keyspace.READY.prefix))

    def get(self, key: Mapping[str, Any]) -> Item | None:
        """Read one item, consistently; None where there is none."""
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

        The base table is read consistently, an index cannot be. `after` is the key of the last
        item seen. `below` keeps to sort keys less than it.
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

    def everything(self, pk: str) -> list[Item]:
        """Read all items of a partition that is known to be small, consistently, in key order."""
        found: list[Item] = []
        more = True
        while more:
            after = {"pk": pk, "sk": found[-1]["sk"]} if found else None
            items, more = self.query(pk, after=after, limit=100)
            found += items
        return found

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
        """Read up to `limit` items of an index's partition, from `low` to `high`, both included.

        `names` are the index's own key attributes. An index lags behind the table by moments.
        """
        condition, values = "#pk = :pk", {":pk": pk, ":low": low, ":high": high}
        if low is not None and high is not None:
            condition += " AND #sk BETWEEN :low AND :high"
        elif low is not None:
            condition += " AND #sk >= :low"
        elif high is not None:
            condition += " AND #sk <= :high"
        given = {name: value for name, value in values.items() if value is not None}
        named = dict(zip(("#pk", "#sk"), names, strict=True))
        answer = call(
            self.client.query,
            TableName=self.name,
            IndexName=index,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=named if len(given) > 1 else {"#pk": names[0]},
            ExpressionAttributeValues=marshal(given),
            ScanIndexForward=not newest_first,
            Limit=limit,
        )
        return [unmarshal(item) for item in answer["Items"]]

    def batch_get(self, keys: Sequence[Mapping[str, str]]) -> list[Item]:
        """Read items by key, consistently, in no order; missing ones are left out."""
        found: list[Item] = []
        for start in range(0, len(keys), 100):
            wanted: Any = [marshal(key) for key in keys[start : start + 100]]
            for _ in range(4):
                if not wanted:
                    break
                request = {self.name: {"Keys": wanted, "ConsistentRead": True}}
                answer = call(self.client.batch_get_item, RequestItems=request)
                found += [unmarshal(raw) for raw in answer["Responses"].get(self.name, [])]
                wanted = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if wanted:
                raise Unavailable
        return found

    def insert(self, item: Item) -> None:
        """Write an item where none stands. Raises ConditionFailed with the one that does."""
        call(
            self.client.put_item,
            TableName=self.name,
            Item=marshal(item),
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

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
        """Update one item under a condition and give it back as it now is (ALL_NEW).

        Raises ConditionFailed with the old item, TransactionConflict, Unavailable.
        """
        answer = call(
            self.client.update_item,
            TableName=self.name,
            Key=marshal(key),
            UpdateExpression=expression,
            **_conditional(condition, names, values),
            ReturnValues="ALL_NEW",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        return unmarshal(answer["Attributes"])

    def put_new(self, item: Item, *, key: str = "pk") -> Write:
        """Write an item where none stands (for a transaction)."""
        return self._write(
            "Put",
            Item=marshal(item),
            ConditionExpression="attribute_not_exists(#key)",
            ExpressionAttributeNames={"#key": key},
        )

    def put(
        self,
        item: Item,
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Write an item under a condition on what stands there (for a transaction)."""
        return self._write("Put", Item=marshal(item), **_conditional(condition, names, values))

    def overwrite(self, item: Item) -> Write:
        """Write an item, whatever stands there (for a transaction)."""
        return Write("Put", {"TableName": self.name, "Item": marshal(item)})

    def change(
        self,
        key: Mapping[str, Any],
        expression: str,
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Update an item under a condition (for a transaction)."""
        return self._write(
            "Update",
            Key=marshal(key),
            UpdateExpression=expression,
            **_conditional(condition, names, values),
        )

    def add(
        self, key: Mapping[str, Any], numbers: Mapping[str, int], *, also: Mapping[str, Any]
    ) -> Write:
        """Add to an item's numbers, zero where none are, and set `also` (for a transaction)."""
        fields = {**numbers, **also}
        expression = "ADD " + ", ".join(f"#{name} :{name}" for name in numbers)
        if also:
            expression += " SET " + ", ".join(f"#{name} = :{name}" for name in also)
        return self._write(
            "Update",
            Key=marshal(key),
            UpdateExpression=expression,
            ExpressionAttributeNames={f"#{name}": name for name in fields},
            ExpressionAttributeValues=marshal({f":{name}": fields[name] for name in fields}),
        )

    def delete(self, key: Mapping[str, Any]) -> Write:
        """Delete an item, if it is there (for a transaction)."""
        return Write("Delete", {"TableName": self.name, "Key": marshal(key)})

    def delete_if(
        self,
        key: Mapping[str, Any],
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Delete an item under a condition (for a transaction)."""
        return self._write("Delete", Key=marshal(key), **_conditional(condition, names, values))

    def check(
        self,
        key: Mapping[str, Any],
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Demand something of an item that the transaction does not write."""
        return self._write(
            "ConditionCheck",
            Key=marshal(key),
            **_conditional(condition, names, values),
        )

    def _write(self, kind: str, **request: Any) -> Write:
        return Write(
            kind,
            {
                "TableName": self.name,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **request,
            },
        )


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables: what is looked up on every request, and the rest."""

    keys: Table
    main: Table

    def batch_get_keys(self, pks: Sequence[str]) -> dict[str, Item]:
        """Read up to 100 looked-up items at once, by partition key. Missing ones are left out."""
        found: dict[str, Item] = {}
        wanted = [marshal({"pk": pk}) for pk in pks]
        for _ in range(4):
            if not wanted:
                return found
            request = {self.keys.name: {"Keys": wanted}}
            answer = call(self.keys.client.batch_get_item, RequestItems=request)
            for raw in answer["Responses"].get(self.keys.name, []):
                item = unmarshal(raw)
                found[item["pk"]] = item
            wanted = answer.get("UnprocessedKeys", {}).get(self.keys.name, {}).get("Keys", [])
        raise Unavailable


def _conditional(
    condition: str, names: Mapping[str, str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Put a condition into a request; DynamoDB refuses maps that are there and empty."""
    request: dict[str, Any] = {"ConditionExpression": condition}
    if names:
        request["ExpressionAttributeNames"] = dict(names)
    if values:
        request["ExpressionAttributeValues"] = marshal(values)
    return request
