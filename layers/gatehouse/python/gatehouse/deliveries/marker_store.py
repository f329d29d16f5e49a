"""`WAKE#PENDING`: markers of webhooks whose parked deliveries or dead letters must be sent.

A marker is written with the change that asks for the work, and deleted when a pass over the
deliveries found nothing more to do. Until then the sweeper asks a worker again, from `send_at` on.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries.model import RecoverMessage, UnparkMessage, WebhookMessage
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, TransactionConflict, Write

_SENT_BY_ITS_WRITER: Micros = MINUTE
_MOST = 5_000  # markers that one sweep reads, about 1 MB


@dataclass(frozen=True, slots=True)
class Marker:
    """The work as a message, when it was asked for, and when the sweeper sends the message."""

    message: WebhookMessage
    marked_at: Micros
    send_at: Micros


def put(table: Table, message: WebhookMessage, *, now: Micros) -> Write:
    """Write a marker (for a transaction). Whoever commits it then sends the message, too."""
    item: Item = {
        **_key(message),
        "marked_at": now,
        "send_at": now + _SENT_BY_ITS_WRITER,
        "above": message.above,
    }
    if isinstance(message, RecoverMessage):
        item["asked_at"] = message.asked_at
    return table.overwrite(item)


def list_all(table: Table) -> list[Marker]:
    """Read the markers."""
    items, _ = table.query(keyspace.WAKE.pk("PENDING"), limit=_MOST)
    return [_from_item(item) for item in items]


def postpone(table: Table, message: WebhookMessage, *, until: Micros) -> Marker | None:
    """Let the sweeper wait, and return the marker; None if there is none: the work is done."""
    try:
        item = table.update(
            _key(message),
            "SET send_at = :until",
            condition="attribute_exists(pk)",
            names={},
            values={":until": until},
        )
    except ConditionFailed:
        return None
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return _from_item(item)


def delete(table: Table, marker: Marker) -> None:
    """Delete a marker, unless it was written again since it was read."""
    write = table.delete_if(
        _key(marker.message),
        condition="marked_at = :seen",
        names={},
        values={":seen": marker.marked_at},
    )
    try:
        table.write(write)
    except (ConditionFailed, TransactionConflict):
        return


def _key(message: WebhookMessage) -> dict[str, str]:
    sk = f"{message.account_id}#{message.webhook_id}"
    if isinstance(message, RecoverMessage):
        # Each recovery has its own marker, since each covers other dead letters.
        sk += f"#{message.asked_at}"
    return {"pk": keyspace.WAKE.pk("PENDING"), "sk": sk}


def _from_item(item: Item) -> Marker:
    account_id, webhook_id, *_ = item["sk"].split("#")
    message: WebhookMessage = UnparkMessage(account_id, webhook_id, item["above"])
    if "asked_at" in item:
        message = RecoverMessage(account_id, webhook_id, item["above"], item["asked_at"])
    return Marker(message, item["marked_at"], item["send_at"])
