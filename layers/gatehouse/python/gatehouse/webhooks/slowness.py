"""Marks a webhook as slow, so that its attempts hold up no other webhook's."""

from __future__ import annotations

import contextlib

from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.table import ConditionFailed, Table, TransactionConflict
from gatehouse.webhooks import slow_rules, slow_store
from gatehouse.webhooks.model import Webhook

SLOW: Micros = slow_rules.SLOW


def is_slow_after(webhook: Webhook, took: Micros, *, now: Micros) -> bool:
    """Return whether a webhook is slow after an attempt that took this long."""
    return slow_rules.after_attempt(webhook.slowness, took, now).slow


def note(table: Table, webhook: Webhook, took: Micros, *, now: Micros) -> None:
    """Write the webhook's mark if an attempt that took this long changes it. Never raises.

    A lost mark costs one more slow attempt in the fast lane, which is no reason to fail a delivery.
    """
    after = slow_rules.after_attempt(webhook.slowness, took, now)
    if after == webhook.slowness:
        return
    with contextlib.suppress(ConditionFailed, TransactionConflict, Unavailable):
        slow_store.write(table, webhook, after)
