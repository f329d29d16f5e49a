"""Attempts: the last one is part of the delivery's item, older ones are `ATTEMPT#<delivery>`.

An attempt is written once, with the delivery; it moves out when the next one is recorded.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import fields

from gatehouse.core.clock import SECOND
from gatehouse.deliveries.model import Attempt, Delivery
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table

_FIELDS = tuple(field.name for field in fields(Attempt))


def move_out(table: Table, delivery: Delivery) -> None:
    """Write the last attempt as an item of its own, before the next one takes its place.

    May be repeated: an attempt that is recorded never changes.
    """
    if delivery.last is None:
        return
    item: Item = {
        "pk": keyspace.ATTEMPT.pk(delivery.id),
        "sk": f"{delivery.last.number:06d}",
        "attempt": encode(delivery.last),
        "ttl": delivery.expires_at // SECOND,
    }
    table.write(table.overwrite(item))


def list_all(table: Table, delivery: Delivery, *, limit: int) -> list[Attempt]:
    """Read the last attempts of a delivery, up to the one it ends with, oldest first."""
    last = delivery.last
    if last is None:
        return []
    if last.number == 1 or limit == 1:
        return [last]
    # An attempt may be in both places, if the process died while it moved.
    below = f"{last.number:06d}"
    items, _ = table.query(
        keyspace.ATTEMPT.pk(delivery.id), below=below, newest_first=True, limit=limit - 1
    )
    return [*(decode(item["attempt"]) for item in reversed(items)), last]


def encode(attempt: Attempt) -> bytes:
    """Return an attempt as it is stored: JSON, compressed, since headers are long and alike."""
    said = {name: value for name in _FIELDS if (value := getattr(attempt, name)) not in (None, {})}
    return zlib.compress(json.dumps(said, default=dict, separators=(",", ":")).encode())


def decode(stored: bytes) -> Attempt:
    """Return a stored attempt."""
    said = json.loads(zlib.decompress(stored))
    return Attempt(**{"status_code": None, "error": None, "response": None} | said)
