"""`WEBHOOK#<account>` by id: the fields that admins set, and statistics beside them.

Fields are written on condition of the version; statistics are written without it. A delivery's
outcome therefore never makes an admin's change start over.
"""

from __future__ import annotations

from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.maker import Maker
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.webhooks import rules, slow_store
from gatehouse.webhooks.model import MOST_WEBHOOKS, Filters, Webhook

_EXISTS = "attribute_exists(pk)"
_CLEAR_FAILURES = "SET failing = :false, failure_count = :zero, last_success_at = :now"


def find(table: Table, account_id: str, webhook_id: str) -> Webhook | None:
    """Read an account's webhook, consistently; None if it does not exist."""
    item = table.get(_key(account_id, webhook_id))
    return None if item is None else _from_item(item)


def get(table: Table, account_id: str, webhook_id: str) -> Webhook:
    """Read an account's webhook, consistently. Raises NotFound."""
    webhook = find(table, account_id, webhook_id)
    if webhook is None:
        raise rules.not_found()
    return webhook


def list_all(table: Table, account_id: str) -> list[Webhook]:
    """Read an account's webhooks, consistently, oldest first."""
    return [_from_item(item) for item in table.query_all(_pk(account_id))]


def create(table: Table, webhook: Webhook) -> dict[str, Write]:
    """Write a new webhook and increment the account's counter."""
    item: Item = {
        **_key(webhook.account_id, webhook.id),
        **_fields(webhook),
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
    """Write a webhook's fields. The condition fails if its version is not the one seen."""
    fields = _fields(webhook) | {"version": webhook.version}
    return table.change(
        _key(webhook.account_id, webhook.id),
        "SET " + ", ".join(f"#{name} = :{name}" for name in fields),
        condition="#version = :seen",
        names={f"#{name}": name for name in fields},
        values={f":{name}": value for name, value in fields.items()} | {":seen": seen.version},
    )


def remove(table: Table, webhook: Webhook) -> dict[str, Write]:
    """Delete a webhook. The condition fails if its version changed."""
    return {
        "webhook": table.delete_if(_key(webhook.account_id, webhook.id), **_same_version(webhook))
    }


def counter(account_id: str) -> str:
    """Return the partition key that names the counter of webhooks."""
    return _pk(account_id)


def check_unchanged(table: Table, webhook: Webhook) -> Write:
    """Check that a webhook's version is still the one that was read."""
    return table.check(_key(webhook.account_id, webhook.id), **_same_version(webhook))


def mark_failing(table: Table, webhook: Webhook, *, now: Micros) -> Write:
    """Set `failing`. The condition fails if the webhook was deleted."""
    return table.change(
        _key(webhook.account_id, webhook.id),
        "SET failing = :true, last_failure_at = :now",
        condition=_EXISTS,
        names={},
        values={":true": True, ":now": now},
    )


def record_success(table: Table, webhook: Webhook, *, now: Micros, unless_since: Micros) -> None:
    """Record a success: clear `failing` and `failure_count`, set `last_success_at`.

    Raises ConditionFailed if the webhook was deleted, or if both are clear and `last_success_at`
    is `unless_since` or newer. Raises TransactionConflict.
    """
    table.update(
        _key(webhook.account_id, webhook.id),
        _CLEAR_FAILURES,
        condition=f"{_EXISTS} AND (failing = :true OR failure_count > :zero"
        " OR attribute_not_exists(last_success_at) OR last_success_at < :since)",
        names={},
        values={":true": True, ":false": False, ":zero": 0, ":now": now, ":since": unless_since},
    )


def record_failure(table: Table, webhook: Webhook, *, now: Micros) -> None:
    """Count a failed attempt. Raises ConditionFailed if deleted, and TransactionConflict."""
    table.update(
        _key(webhook.account_id, webhook.id),
        "SET last_failure_at = :now ADD failure_count :one",
        condition=_EXISTS,
        names={},
        values={":one": 1, ":now": now},
    )


def _same_version(webhook: Webhook) -> dict[str, Any]:
    return {
        "condition": "#version = :seen",
        "names": {"#version": "version"},
        "values": {":seen": webhook.version},
    }


def _fields(webhook: Webhook) -> Item:
    return {
        "url": webhook.url,
        "rings": list(webhook.filters.rings),
        "types": list(webhook.filters.types),
        "min_urgency": webhook.filters.min_urgency,
        "all_rings": list(webhook.all_filters.rings),
        "all_types": list(webhook.all_filters.types),
        "all_min_urgency": webhook.all_filters.min_urgency,
        "active": webhook.active,
        "disabled_reason": webhook.disabled_reason,
        "description": webhook.description,
        "retry_schedule": list(webhook.retry_schedule),
        "header_names": list(webhook.header_names),
        "created_by": webhook.maker.created_by,
        "created_by_key": webhook.maker.created_by_key,
    }


def _from_item(item: Item) -> Webhook:
    return Webhook(
        id=item["sk"],
        account_id=keyspace.WEBHOOK.rest_of(item["pk"]),
        url=item["url"],
        created_at=item["created_at"],
        filters=Filters(tuple(item["rings"]), tuple(item["types"]), item["min_urgency"]),
        all_filters=Filters(
            tuple(item["all_rings"]), tuple(item["all_types"]), item["all_min_urgency"]
        ),
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
        maker=Maker(item["created_by"], item["created_by_key"]),
        slowness=slow_store.from_item(item),
    )


def _pk(account_id: str) -> str:
    return keyspace.WEBHOOK.pk(account_id)


def _key(account_id: str, webhook_id: str) -> dict[str, str]:
    return {"pk": _pk(account_id), "sk": webhook_id}
