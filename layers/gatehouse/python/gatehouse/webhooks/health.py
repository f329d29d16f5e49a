"""Records on a webhook what happened to its deliveries."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict, Write
from gatehouse.webhooks import rules, store
from gatehouse.webhooks.model import Webhook

# Another transaction is writing the webhook itself; botocore does not retry that.
_CONFLICT = Backoff(4, first=0.02, longest=0.02, least=0.5)


def disable(
    table: Table,
    webhook: Webhook,
    *,
    reason: str,
    also: Mapping[str, Write],
    origin: Origin,
    now: Micros,
) -> None:
    """Make a webhook inactive because of its receiver's answer, with an audit event.

    `also` are writes of the same transaction. Raises audit's Refused if a condition failed, and
    nothing is written then: its `failed` names those of `also`, and `webhook` if the webhook was
    changed or deleted since it was read.
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


def record_success(table: Table, webhook: Webhook, *, now: Micros) -> None:
    """Record a success: clear `failing` and `failure_count`, set `last_success_at`.

    Skipped if both are clear and a success was recorded in the last minute. Does nothing if the
    webhook was deleted, or the table is unavailable.
    """
    last, since = webhook.last_success_at, now - MINUTE
    if last is not None and last >= since and not webhook.failing and not webhook.failure_count:
        return
    _record(lambda: store.record_success(table, webhook, now=now, unless_since=since))


def record_failure(table: Table, webhook: Webhook, *, now: Micros) -> None:
    """Count a failed attempt; never sets `failing`.

    Does nothing if the webhook was deleted, or the table is unavailable.
    """
    _record(lambda: store.record_failure(table, webhook, now=now))


def _record(write: Callable[[], None]) -> None:
    # A count that is one too low is no reason to fail a delivery, whose attempt is recorded.
    with contextlib.suppress(ConditionFailed, TransactionConflict, Unavailable):
        _CONFLICT.call(write, on=TransactionConflict)
