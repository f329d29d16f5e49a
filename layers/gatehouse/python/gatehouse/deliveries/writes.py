"""The note that a webhook's parked deliveries go on, for whoever changes a webhook."""

from __future__ import annotations

from gatehouse.core.clock import Micros
from gatehouse.deliveries import store
from gatehouse.deliveries.model import Wake
from gatehouse.dynamo.table import Table, Write


def waking(table: Table, account_id: str, webhook_id: str, *, now: Micros) -> dict[str, Write]:
    """Give the note, for the change that wakes the webhook; the sweeper finds it."""
    return {"wake": store.mark(table, Wake(account_id, webhook_id), now=now)}
