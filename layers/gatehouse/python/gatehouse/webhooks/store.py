"""`WEBHOOK#<account>` by id: what an admin decides, and beside it the statistics.

The first is written under its version, the second past it: a delivery's outcome is no change that
anybody decided, and must not make a decision start over.
"""

from __future__ import annotations

from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.webhooks.model import MOST_WEBHOOKS, Filters, Webhook

_STANDS = "attribute_exists(pk)"
_WELL = "SET failing = :false, failure_count = :zero, last_success_at = :now"


def read(table: Table, account_id: str, webhook_id: str) -> Webhook | None:
    """Read an account's webhook, consistently."""
    item = table.get(_key(account_id, webhook_id))
    return None if item is None else _from_item(item)


def all_of(table: Table, account_id: str) -> list[Webhook]:
    """Read an account's webhooks, consistently, in the order they were made."""
    return [_from_item(item) for item in table.query_all(keyspace.WEBHOOK.pk(account_id))]


def create(table: Table, webhook: Webhook) -> dict[str, Write]:
    """Write a new webhook and count it."""
    item: Item = {
        **_key(webhook.account_id, webhook.id),
        **_decided(webhook),
        "version": webhook.version,
        "created_at": webhook.created_at,
        "failing": False,
        "failure_count": 0,
    }
    return {
        "webhook": table.put_new(item),
        "count": counters.move(table, _pk(webhook.account_id), by=1, most=MOST_WEBHOOKS),
    }


def replace(table: Table, webhook: Webhook, *, seen: Webhook) -> Write:
    """Write what was decided anew, if nobody else decided since it was read."""
    fields = _decided(webhook) | {"version": webhook.version}
    return table.change(
        _key(webhook.account_id, webhook.id),
        "SET " + ", ".join(f"#{name} = :{name}" for name in fields),
        condition="#version = :seen",
        names={f"#{name}": name for name in fields},
        values={f":{name}": value for name, value in fields.items()} | {":seen": seen.version},
    )


def remove(table: Table, webhook: Webhook) -> dict[str, Write]:
    """Remove a webhook, if it still stands as it was read."""
    return {
        "webhook": table.delete_if(
            _key(webhook.account_id, webhook.id),
            **_as_seen(webhook),
        ),
        "count": counters.move(table, _pk(webhook.account_id), by=-1, most=MOST_WEBHOOKS),
    }


def unchanged(table: Table, webhook: Webhook) -> Write:
    """Demand that a webhook still stands as it was read, statistics aside."""
    return table.check(
        _key(webhook.account_id, webhook.id),
        **_as_seen(webhook),
    )


def failing(table: Table, webhook: Webhook, *, now: Micros) -> Write:
    """Mark a webhook as failing, if it is still there."""
    return table.change(
        _key(webhook.account_id, webhook.id),
        "SET failing = :true, last_failure_at = :now",
        condition=_STANDS,
        names={},
        values={":true": True, ":now": now},
    )


def recovered(table: Table, webhook: Webhook, *, now: Micros) -> Write:
    """Mark a webhook as well again, if it is still there."""
    return table.change(
        _key(webhook.account_id, webhook.id),
        _WELL,
        condition=_STANDS,
        names={},
        values={":false": False, ":zero": 0, ":now": now},
    )


def note_success(table: Table, webhook: Webhook, *, now: Micros, unless_since: Micros) -> None:
    """Mark a webhook as well, unless it is and a success since then is written already.

    Raises ConditionFailed where there is nothing to write, or nobody, and TransactionConflict.
    """
    table.update(
        _key(webhook.account_id, webhook.id),
        _WELL,
        condition=f"{_STANDS} AND (failing = :true OR failure_count > :zero"
        " OR attribute_not_exists(last_success_at) OR last_success_at < :since)",
        names={},
        values={":true": True, ":false": False, ":zero": 0, ":now": now, ":since": unless_since},
    )


def note_failure(table: Table, webhook: Webhook, *, now: Micros) -> None:
    """Count a failed attempt. Raises ConditionFailed where it is gone, TransactionConflict."""
    table.update(
        _key(webhook.account_id, webhook.id),
        "SET last_failure_at = :now ADD failure_count :one",
        condition=_STANDS,
        names={},
        values={":one": 1, ":now": now},
    )


def _as_seen(webhook: Webhook) -> dict[str, Any]:
    return {
        "condition": "#version = :seen",
        "names": {"#version": "version"},
        "values": {":seen": webhook.version},
    }


def _decided(webhook: Webhook) -> Item:
    return {
        "url": webhook.url,
        "rings": list(webhook.filters.rings),
        "types": list(webhook.filters.types),
        "min_urgency": webhook.filters.min_urgency,
        "active": webhook.active,
        "disabled_reason": webhook.disabled_reason,
        "description": webhook.description,
        "retry_schedule": list(webhook.retry_schedule),
        "header_names": list(webhook.header_names),
    }


def _from_item(item: Item) -> Webhook:
    return Webhook(
        id=item["sk"],
        account_id=keyspace.WEBHOOK.rest_of(item["pk"]),
        url=item["url"],
        created_at=item["created_at"],
        filters=Filters(tuple(item["rings"]), tuple(item["types"]), item["min_urgency"]),
        active=item["active"],
        description=item["description"],
        retry_schedule=tuple(item["retry_schedule"]),
        header_names=tuple(item["header_names"]),
        version=item["version"],
        failing=item["failing"],
        failure_count=item["failure_count"],
        last_success_at=item.get("last_success_at"),
        last_failure_at=item.get("last_failure_at"),
        disabled_reason=item["disabled_reason"],
    )


def _pk(account_id: str) -> str:
    return keyspace.WEBHOOK.pk(account_id)


def _key(account_id: str, webhook_id: str) -> dict[str, str]:
    return {"pk": _pk(account_id), "sk": webhook_id}
