"""Records of DynamoDB's stream for items that are created, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.core.clock import MINUTE
from gatehouse.dynamo.attributes import marshal

Item = dict[str, Any]

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/main/stream/2026-11-20T08:00:00.000"


def signal(account: str, name: str, *, at: int, type: str = "task", **more: Any) -> Item:  # noqa: A002
    """Return a signal's item with the attributes that the counters may read."""
    return {
        "pk": f"SIGNAL#{account}#7",
        "sk": name,
        "type": type,
        "created_at": at,
        "content": "text",
        **more,
    }


def delivery(account: str, name: str, status: str, **more: Any) -> Item:
    """Return a delivery's item."""
    return {
        "pk": "DELIVERY#ea69dd4a#7",
        "sk": name,
        "account_id": account,
        "status": status,
        "created_at": 28_000_000 * MINUTE,
        **more,
    }


def record(number: int, old: Item | None, new: Item | None) -> dict[str, Any]:
    """Return one record of the stream; `number` is its sequence number."""
    images = [None if item is None else marshal(item) for item in (old, new)]
    return record_of_images(number, *images)


def record_of_images(number: int, old: Item | None, new: Item | None) -> dict[str, Any]:
    """Return one record of the stream for images in DynamoDB's own form."""
    item = new or old
    assert item is not None
    stream: dict[str, Any] = {
        "ApproximateCreationDateTime": 1_795_253_400.0,
        "Keys": {name: item[name] for name in ("pk", "sk") if name in item},
        "SequenceNumber": str(number),
        "SizeBytes": 64,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if old is not None:
        stream["OldImage"] = old
    if new is not None:
        stream["NewImage"] = new
    kind = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    return {
        "eventID": f"{number:032x}",
        "eventName": kind,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": stream,
        "eventSourceARN": ARN,
    }


class Stream:
    """A table's items and the stream records of their changes. Sequence numbers get longer."""

    def __init__(self, first: int = 97) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.records: list[dict[str, Any]] = []
        self._next = first

    def put(self, item: Item) -> None:
        """Write a whole item, as a transaction's Put does."""
        key = (item["pk"], item["sk"])
        self._record(self.items.get(key), item)
        self.items[key] = item

    def change(self, item: Mapping[str, Any], **fields: Any) -> None:
        """Update an item."""
        self.put({**self.items[item["pk"], item["sk"]], **fields})

    def remove(self, item: Mapping[str, Any]) -> None:
        """Delete an item, by hand or by its time to live."""
        self._record(self.items.pop((item["pk"], item["sk"])), None)

    def _record(self, old: Item | None, new: Item | None) -> None:
        self.records.append(record(self._next, old, new))
        self._next += 1 + self._next % 3
