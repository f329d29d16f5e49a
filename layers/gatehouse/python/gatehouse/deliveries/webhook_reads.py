"""The webhooks of a batch of messages: read once, not once for each attempt."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Lock

from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo.table import Table
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Webhook

# How old a read may be when an attempt uses it. So an attempt that begins later than this after a
# webhook was paused or changed sees the change.
MOST_AGE: Micros = SECOND // 4


@dataclass
class _Read:
    lock: Lock = field(default_factory=Lock)
    at: Micros | None = None
    webhook: Webhook | None = None


class WebhookReads:
    """Reads webhooks for attempts that run side by side."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = Lock()
        self._reads: dict[Hashable, _Read] = {}

    def find(
        self, table: Table, account_id: str, webhook_id: str, *, now: Micros, again: bool = False
    ) -> Webhook | None:
        """Return a webhook as it is, or was a moment ago; None if it does not exist.

        `again`: read it, however short ago that was done.
        """
        with self._lock:
            read = self._reads.setdefault((account_id, webhook_id), _Read())
        with read.lock:
            if again or read.at is None or now - read.at > MOST_AGE:
                read.webhook = webhooks.find(table, account_id, webhook_id)
                read.at = now
            return read.webhook
