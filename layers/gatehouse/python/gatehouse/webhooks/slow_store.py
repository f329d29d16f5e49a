"""The attributes of a webhook's item that say whether its receiver is slow."""

from __future__ import annotations

from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table
from gatehouse.webhooks.model import NOT_SLOW, Slowness, Webhook


def from_item(item: Item) -> Slowness:
    """Parse the mark in a webhook's item; a webhook that never was slow has none."""
    if "slow" not in item:
        return NOT_SLOW
    return Slowness(item["slow"], item["slow_since"], item["slow_count"])


def write(table: Table, webhook: Webhook, after: Slowness) -> None:
    """Write a changed mark.

    Raises ConditionFailed if the webhook was deleted, or its mark changed since it was read, and
    TransactionConflict.
    """
    before = webhook.slowness
    unchanged = "attribute_not_exists(slow)"
    values = {":slow": after.slow, ":since": after.since, ":count": after.count}
    if before.since is not None:
        unchanged = "slow = :before AND slow_since = :since_before"
        values |= {":before": before.slow, ":since_before": before.since}
    table.update(
        {"pk": keyspace.WEBHOOK.pk(webhook.account_id), "sk": webhook.id},
        "SET slow = :slow, slow_since = :since, slow_count = :count",
        condition=f"attribute_exists(pk) AND {unchanged}",
        names={},
        values=values,
    )
