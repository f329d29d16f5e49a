"""Records an attempt: one conditional write of the delivery's own item.

Only where the webhook changes with the delivery is it in the same transaction: the first dead
letter makes it failing, a 410 makes it inactive. A success never waits for a busy webhook.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.deliveries import attempt_store, rules, store
from gatehouse.deliveries.model import Delivery, GiveUp, NextAction, Park
from gatehouse.dynamo.table import Table, TransactionCanceled, TransactionConflict, Write, transact
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import health
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Webhook

_WEBHOOK_CHANGED = Backoff(6)
_CONFLICT = Backoff(6, first=0.01, longest=0.2)
# For a table that is unavailable. After the longest attempt the lease ends during the last waits.
_UNAVAILABLE = Backoff(8, first=0.05, longest=2.0)


@dataclass(frozen=True, slots=True)
class Recorder:
    """Records one attempt of `before`, the delivery as it was claimed."""

    table: Table
    before: Delivery
    request_id: str
    now: Micros

    def record(self, after: Delivery, *, action: NextAction, webhook: Webhook) -> Delivery | None:
        """Write the delivery with its attempt; None if another worker changed the delivery."""
        match action:
            case GiveUp() if not webhook.failing:
                return self._record_death(after, webhook)
            case Park():
                return self._record_gone(after, webhook)
        return self.save(after)

    def save(self, after: Delivery) -> Delivery | None:
        """Write the delivery by itself; None if another worker changed it. Raises Unavailable."""
        for _ in _UNAVAILABLE.tries():
            with contextlib.suppress(TransactionConflict, Unavailable):
                self._move_out(after)
                return after if store.record(self.table, after, seen=self.before) else None
        raise Unavailable

    def save_with(self, after: Delivery, webhook: Write) -> Sequence[str]:
        """Write the delivery together with `webhook`; return the names that failed of the two."""
        writes = {"delivery": self._replace(after), "webhook": webhook}
        for _ in _CONFLICT.tries():
            with contextlib.suppress(TransactionConflict):
                return _try(self.table, writes)
        raise Unavailable

    def _record_death(self, after: Delivery, webhook: Webhook) -> Delivery | None:
        """Record the last attempt of a dead letter, and `failing` in the same transaction.

        Without `failing` where the webhook was deleted, or another dead letter has set it.
        """
        self._move_out(after)
        seen: Webhook | None = webhook
        for _ in _CONFLICT.tries():
            if seen is None or seen.failing:
                break
            failing = webhook_writes.mark_failing(self.table, seen, now=self.now)
            with contextlib.suppress(TransactionConflict):
                failed = _try(self.table, {"delivery": self._replace(after), "webhook": failing})
                if not failed:
                    return after
                if "delivery" in failed:
                    return None
            seen = webhooks.find(self.table, webhook.account_id, webhook.id)
        return self.save(after)

    def _record_gone(self, after: Delivery, webhook: Webhook) -> Delivery | None:
        """Record an attempt answered 410, and disable its webhook in the same transaction.

        A webhook that became inactive meanwhile stays as it is. If its URL was changed meanwhile,
        the 410 is not about the new URL: the webhook stays active, and the delivery goes there at
        once.
        """
        self._move_out(after)
        seen: Webhook | None = webhook
        for _ in _WEBHOOK_CHANGED.tries():
            if seen is None:
                return self.save(after)
            if not seen.active:
                still_inactive = webhook_writes.check_unchanged(self.table, seen)
                failed = self.save_with(after, still_inactive)
            elif seen.url != webhook.url:
                return self.save(rules.unparked(after, self.now))
            else:
                failed = self._disable(seen, {"delivery": self._replace(after)})
            if not failed:
                return after
            if "delivery" in failed:
                return None
            seen = webhooks.find(self.table, webhook.account_id, webhook.id)
        raise Unavailable

    def _disable(self, webhook: Webhook, also: Mapping[str, Write]) -> Sequence[str]:
        """Disable a webhook together with `also`; return the names whose conditions failed."""
        origin = Origin(actor="system:delivery", request_id=self.request_id, chain=Chain.MACHINE)
        try:
            health.disable(
                self.table, webhook, reason="gone", also=also, origin=origin, now=self.now
            )
        except audit.Refused as refused:
            return list(refused.failed)
        return []

    def _move_out(self, after: Delivery) -> None:
        if after.last != self.before.last:
            attempt_store.move_out(self.table, self.before)

    def _replace(self, after: Delivery) -> Write:
        return store.replace(self.table, after, seen=self.before)


def _try(table: Table, writes: Mapping[str, Write]) -> Sequence[str]:
    """Do all writes or none, once; return the names of those whose conditions failed.

    Raises TransactionConflict.
    """
    try:
        transact(table.client, list(writes.values()))
    except TransactionCanceled as canceled:
        if not canceled.failed:
            raise TransactionConflict from canceled
        names = list(writes)
        return [names[position] for position in canceled.failed]
    return []
