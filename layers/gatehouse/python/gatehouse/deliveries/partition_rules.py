"""In which partition of the table a delivery is, and which texts lie beside its id. Pure."""

from __future__ import annotations

import hashlib

LANES = 8  # of a webhook


def partition_of(delivery_id: str) -> tuple[str, int]:
    """Return the webhook's part of a delivery's id, and the lane that the delivery is in."""
    return delivery_id[-8:], int(delivery_id[-9], 16) % LANES


def partitions_of(webhook_id: str) -> list[tuple[str, int]]:
    """Return the part and lane of each partition in which a webhook's deliveries are.

    Another webhook can have the same part; 32 bits make that rare.
    """
    return [(part_of(webhook_id), lane) for lane in range(LANES)]


def part_of(webhook_id: str) -> str:
    """Return the end of the id of each delivery of a webhook: 32 bits of a hash of its id."""
    return hashlib.sha256(webhook_id.encode()).hexdigest()[:8]


def below(delivery_id: str) -> str:
    """Return a text that sorts before an id and after every id before it."""
    # A query on an index includes both ends. No id lies between this text and the id.
    return f"{delivery_id[:-1]}{chr(ord(delivery_id[-1]) - 1)}~"


def above(delivery_id: str) -> str:
    """Return a text that sorts after an id and before every id after it."""
    return f"{delivery_id}~"
