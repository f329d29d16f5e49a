"""The writes of a transaction, each as DynamoDB takes it. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatehouse.dynamo.attributes import marshal
from gatehouse.dynamo.transactions import Item, Write


@dataclass(frozen=True, slots=True)
class WriteBuilder:
    """Builds the writes of one table for `transact`."""

    name: str

    def put_new(self, item: Item) -> Write:
        """Write a new item; the condition fails if one exists."""
        return self._write(
            "Put",
            Item=marshal(item),
            ConditionExpression="attribute_not_exists(pk)",
        )

    def put(
        self,
        item: Item,
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Write an item under a condition on the existing one."""
        return self._write("Put", Item=marshal(item), **conditional(condition, names, values))

    def overwrite(self, item: Item) -> Write:
        """Write an item over any existing one."""
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
        """Update an item under a condition."""
        return self._write(
            "Update",
            Key=marshal(key),
            UpdateExpression=expression,
            **conditional(condition, names, values),
        )

    def add(
        self, key: Mapping[str, Any], numbers: Mapping[str, int], *, also: Mapping[str, Any]
    ) -> Write:
        """Add to numbers of an item, which start at zero, and set the attributes of `also`."""
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
        """Delete an item if it exists."""
        return Write("Delete", {"TableName": self.name, "Key": marshal(key)})

    def delete_if(
        self,
        key: Mapping[str, Any],
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Delete an item under a condition."""
        return self._write("Delete", Key=marshal(key), **conditional(condition, names, values))

    def check(
        self,
        key: Mapping[str, Any],
        *,
        condition: str,
        names: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> Write:
        """Require a condition of an item that the transaction does not write."""
        return self._write(
            "ConditionCheck",
            Key=marshal(key),
            **conditional(condition, names, values),
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


def conditional(
    condition: str, names: Mapping[str, str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a condition's part of a request. DynamoDB refuses empty maps, so they are left out."""
    request: dict[str, Any] = {"ConditionExpression": condition}
    if names:
        request["ExpressionAttributeNames"] = dict(names)
    if values:
        request["ExpressionAttributeValues"] = marshal(values)
    return request
