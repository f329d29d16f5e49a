"""Reading a whole index. Only for an index with few items: a scan reads all of it."""

from __future__ import annotations

from typing import Any

from gatehouse.dynamo.attributes import marshal, unmarshal
from gatehouse.dynamo.table import Table
from gatehouse.dynamo.transactions import Item, call


def scan_index(
    table: Table, index: str, *, besides: tuple[str, str], after: Item | None, limit: int
) -> tuple[list[Item], Item | None]:
    """Look at `limit` items in no order; return those that pass, and where to continue.

    Items whose attribute `besides[0]` is `besides[1]` do not pass. The second value is None at the
    end.
    """
    request: dict[str, Any] = {
        "TableName": table.name,
        "IndexName": index,
        "FilterExpression": "attribute_not_exists(#name) OR #name <> :value",
        "ExpressionAttributeNames": {"#name": besides[0]},
        "ExpressionAttributeValues": marshal({":value": besides[1]}),
        "Limit": limit,
    }
    if after is not None:
        request["ExclusiveStartKey"] = marshal(after)
    answer = call(table.client.scan, **request)
    last = answer.get("LastEvaluatedKey")
    return [unmarshal(item) for item in answer["Items"]], unmarshal(last) if last else None
