"""What DynamoDB's stream says of items that come, change and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.core.clock import DAY, MINUTE
from gatehouse.dynamo.attributes import marshal

Item = dict[str, Any]

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/main/stream/2026-11-20T08:00:00.000"


def signal(account: str, name: str, *, at: int, type: str = "task", **more: Any) -> Item:  # noqa: A002
    """Write a signal's item, as far as the counters could look."""
    return {
        "pk": f"SIGNAL#{account}#{at // DAY}",
        "sk": name,
        "type": type,
        "created_at": at,
        "content": "said",
        **more,
    }


def delivery(account: str, name: str, status: str, **more: Any) -> Item:
    """Write a delivery's item."""
    return {
        "pk": f"DELIVERY#{name}",
        "sk": "DELIVERY",
        "account_id": account,
        "status": status,
        "created_at": 28_000_000 * MINUTE,
        **more,
    }


def record(number: int, old: Item | None, new: Item | None) -> dict[str, Any]:
    """Write one record of the stream; `number` is its sequence number."""
    there = new or old
    assert there is not None
    told: dict[str, Any] = {
        "ApproximateCreationDateTime": 1_795_253_400.0,
        "Keys": marshal({name: there[name] for name in ("pk", "sk")}),
        "SequenceNumber": str(number),
        "SizeBytes": 64,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if old is not None:
        told["OldImage"] = marshal(old)
    if new is not None:
        told["NewImage"] = marshal(new)
    kind = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    return {
        "eventID": f"{number:032x}",
        "eventName": kind,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": told,
        "eventSourceARN": ARN,
    }


class Stream:
    """A table's items and the records that their changes leave. Numbers grow in width too."""

    def __init__(self, first: int = 97) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.records: list[dict[str, Any]] = []
        self._next = first

    def put(self, item: Item) -> None:
        """Write an item whole, as a transaction's Put does."""
        key = (item["pk"], item["sk"])
        self._tell(self.items.get(key), item)
        self.items[key] = item

    def change(self, item: Mapping[str, Any], **fields: Any) -> None:
        """Update an item that stands."""
        self.put({**self.items[item["pk"], item["sk"]], **fields})

    def remove(self, item: Mapping[str, Any]) -> None:
        """Remove an item that stands, by hand or by its time to live."""
        self._tell(self.items.pop((item["pk"], item["sk"])), None)

    def _tell(self, old: Item | None, new: Item | None) -> None:
        self.records.append(record(self._next, old, new))
        self._next += 1 + self._next % 3
