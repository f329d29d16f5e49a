"""The webhooks of a batch of messages: read once, not once for each attempt."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo.table import Table
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Webhook

# How old a read may be when an attempt uses it. So an attempt that begins later than this after a
# webhook was paused or changed sees the change.
MOST_AGE: Micros = SECOND // 4


@dataclass(frozen=True, slots=True)
class _Read:
    at: Micros
    found: Future[Webhook | None]


class WebhookReads:
    """Reads webhooks for attempts that run side by side."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = Lock()
        self._reads: dict[tuple[str, str], _Read] = {}

    def find(
        self, table: Table, account_id: str, webhook_id: str, *, now: Micros, again: bool = False
    ) -> Webhook | None:
        """Return a webhook as it is, or was a moment ago; None if it does not exist.

        `again`: read it, however short ago that was done. Raises Unavailable.
        """
        key = (account_id, webhook_id)
        mine: Future[Webhook | None] = Future()
        with self._lock:
            read = self._reads.get(key)
            if read is None or again or now - read.at > MOST_AGE:
                read = self._reads[key] = _Read(now, mine)
        if read.found is not mine:
            return read.found.result()  # waits, if another thread is reading it
        try:
            mine.set_result(webhooks.find(table, account_id, webhook_id))
        except BaseException as error:
            self._reads.pop(key, None)
            mine.set_exception(error)
            raise
        return mine.result()
