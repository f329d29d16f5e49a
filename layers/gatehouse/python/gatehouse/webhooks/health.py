"""What becomes of a webhook's deliveries, written on the webhook."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import MINUTE, Micros
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict, Write
from gatehouse.webhooks import rules, store
from gatehouse.webhooks.model import Webhook

_CONFLICT_TRIES = 4
_CONFLICT_WAIT = 0.02  # seconds, the longest of one wait


def disable(
    table: Table,
    webhook: Webhook,
    *,
    reason: str,
    also: Mapping[str, Write],
    origin: Origin,
    now: Micros,
) -> None:
    """Make a webhook inactive because of what its receiver answered, on the record.

    Raises audit's Refused, whose `failed` names `webhook` where it was changed or removed since
    it was read, and the names of `also` whose conditions failed. Nothing was written then.
    """
    after = replace(rules.next_version(webhook), active=False, disabled_reason=reason)
    audit.commit(
        table,
        webhook.account_id,
        writes={"webhook": store.replace(table, after, seen=webhook), **also},
        changes=[
            Change(
                "webhook.disable",
                rules.target(webhook),
                before=rules.audit_view(webhook),
                after=rules.audit_view(after),
            )
        ],
        origin=origin,
        now=now,
    )


def note_success(table: Table, webhook: Webhook, *, now: Micros) -> None:
    """Mark a webhook as well: failing and failure_count go, last_success_at is now.

    Written at most once a minute where nothing else changes; quiet when the webhook is gone.
    """
    last, since = webhook.last_success_at, now - MINUTE
    if last is not None and last >= since and not webhook.failing and not webhook.failure_count:
        return
    _note(lambda: store.note_success(table, webhook, now=now, unless_since=since))


def note_failure(table: Table, webhook: Webhook, *, now: Micros) -> None:
    """Count a failed attempt; quiet when the webhook is gone. `failing` counts none by itself."""
    _note(lambda: store.note_failure(table, webhook, now=now))


def _note(write: Callable[[], None]) -> None:
    with contextlib.suppress(ConditionFailed):
        for attempt in range(_CONFLICT_TRIES):
            try:
                return write()
            except TransactionConflict:
                # The webhook itself is being changed. botocore does not try that again, and a
                # number that is one too low is no reason to fail a delivery.
                if attempt < _CONFLICT_TRIES - 1:
                    time.sleep(_CONFLICT_WAIT * random.uniform(0.5, 1))  # noqa: S311 - jitter
    return None
