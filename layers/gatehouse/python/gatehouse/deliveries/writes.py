"""The marker that a webhook's parked deliveries must be sent, for other rooms' transactions."""

from __future__ import annotations

from gatehouse.core.clock import Micros
from gatehouse.deliveries import marker_store
from gatehouse.deliveries.model import UnparkMessage
from gatehouse.dynamo.table import Table, Write


def unpark_marker(
    table: Table, account_id: str, webhook_id: str, *, now: Micros
) -> dict[str, Write]:
    """Return the marker's write, for the transaction that activates or deletes a webhook.

    The sweeper sends the parked deliveries of each webhook that has one.
    """
    message = UnparkMessage(account_id, webhook_id)
    return {"unpark": marker_store.put(table, message, now=now)}
