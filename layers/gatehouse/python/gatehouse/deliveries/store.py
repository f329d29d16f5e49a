"""`DELIVERY#<id>`: the delivery as `DELIVERY`, its attempts as `ATTEMPT#<n>`.

Index `by_due` finds what the sweeper may have to send, `by_listing` a webhook's deliveries by
state. Both are a moment behind the table, so callers read the items they find again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import rules
from gatehouse.deliveries.model import (
    LEASE,
    Attempt,
    DeadLetterReason,
    Delivery,
    DeliveryStatus,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
    WebhookMessage,
)
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, TransactionConflict, Write

_DUE = ("due_pk", "due_at")
_LISTED = ("listed_pk", "listed_sk")
_OPTIONAL = (
    "next_retry_at",
    "due_at",
    "parked",
    "reason",
    "last_status_code",
    "delivered_at",
    "ended_at",
    "replay_of",
)
_NOT_ATTEMPTED = (
    "next_attempt = :attempt AND #status = :status AND lease_until = :lease AND #round = :round"
)
_NAMES = {"#status": "status", "#round": "round"}

# Parked deliveries have their own partition, because unparking reads only them.
PARKED = "parked"


def create(table: Table, delivery: Delivery) -> Write:
    """Write a new delivery (for a transaction)."""
    return table.put_new(_to_item(delivery))


def insert(table: Table, delivery: Delivery) -> Delivery:
    """Write a new delivery and return it; if its id exists, return the stored one."""
    try:
        table.insert(_to_item(delivery))
    except ConditionFailed as failed:
        if failed.item is not None:
            return _from_item(failed.item)
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return delivery


def find(table: Table, delivery_id: str) -> Delivery | None:
    """Read a delivery by its id, consistently; None if it does not exist."""
    item = table.get(_key(delivery_id))
    return None if item is None else _from_item(item)


def list_by_ids(table: Table, delivery_ids: Sequence[str]) -> list[Delivery]:
    """Read deliveries, consistently, in the order of the ids; skips those that do not exist."""
    items = table.batch_get([_key(one) for one in delivery_ids])
    by_id = {delivery.id: delivery for delivery in map(_from_item, items)}
    return [by_id[one] for one in delivery_ids if one in by_id]


def list_attempts(table: Table, delivery_id: str, *, limit: int) -> list[Attempt]:
    """Read the last attempts of a delivery, oldest first."""
    # "ATTEMPT#..." sorts before "DELIVERY".
    items, _ = table.query(_pk(delivery_id), below="DELIVERY", newest_first=True, limit=limit)
    return [
        Attempt(
            number=item["number"],
            started_at=item["started_at"],
            duration_ms=item["duration_ms"],
            status_code=item.get("status_code"),
            error=item.get("error"),
            response=item.get("response"),
        )
        for item in reversed(items)
    ]


def claim(table: Table, delivery_id: str, *, attempt: int, now: Micros) -> Delivery | None:
    """Claim one attempt; None if another worker holds it, it was made, or it must not be made."""
    try:
        item = table.update(
            _key(delivery_id),
            "SET lease_until = :until",
            condition=(
                "next_attempt = :attempt AND #status IN (:pending, :retrying)"
                " AND attribute_not_exists(parked) AND lease_until < :now"
            ),
            names={"#status": "status"},
            values={
                ":until": now + LEASE,
                ":attempt": attempt,
                ":pending": DeliveryStatus.PENDING.value,
                ":retrying": DeliveryStatus.RETRYING.value,
                ":now": now,
            },
        )
    except ConditionFailed:
        return None
    except TransactionConflict as conflict:
        raise Unavailable from conflict  # SQS delivers the message again
    return _from_item(item)


def replace(table: Table, after: Delivery, *, seen: Delivery) -> Write:
    """Write a changed delivery. The condition fails if it was claimed, attempted or replayed.

    A sweep since it was seen does not make the condition fail.
    """
    return table.put(_to_item(after), condition=_NOT_ATTEMPTED, names=_NAMES, values=_values(seen))


def replace_swept(table: Table, after: Delivery, *, seen: Delivery) -> Write:
    """Write a delivery after a sweep. The condition fails as for `replace`, or if swept again."""
    return table.put(
        _to_item(after),
        condition=f"{_NOT_ATTEMPTED} AND due_at = :due_at",
        names=_NAMES,
        values=_values(seen) | {":due_at": seen.due_at},
    )


def put_attempt(table: Table, delivery: Delivery, attempt: Attempt) -> Write:
    """Write an attempt (for a transaction). Its repeat after a crash overwrites it."""
    item: Item = {
        "pk": _pk(delivery.id),
        "sk": f"ATTEMPT#{attempt.number:06d}",
        "number": attempt.number,
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "ttl": delivery.expires_at // SECOND,
    }
    for name in ("status_code", "error", "response"):
        value = getattr(attempt, name)
        if value is not None:
            item[name] = value
    return table.overwrite(item)


def list_due(table: Table, shard: int, *, now: Micros, limit: int) -> list[str]:
    """List the ids of a shard's deliveries that are due for the sweeper, longest due first."""
    items = table.between(keyspace.DUE.pk(shard), index="by_due", names=_DUE, high=now, limit=limit)
    return [_id(item) for item in items]


def list_ids(
    table: Table,
    webhook_id: str,
    state: str,
    *,
    low: str | None = None,
    high: str | None = None,
    newest_first: bool = True,
    limit: int,
) -> list[str]:
    """List the ids of a webhook's deliveries in a state: a status, or `parked`."""
    items = table.between(
        _listing(webhook_id, state),
        index="by_listing",
        names=_LISTED,
        low=low or None,  # a key of an index must not be empty
        high=high,
        newest_first=newest_first,
        limit=limit,
    )
    return [_id(item) for item in items]


def put_marker(table: Table, message: WebhookMessage, *, now: Micros) -> Write:
    """Write the marker of work on a webhook's deliveries (for a transaction)."""
    item: Item = {**_marker_key(message), "marked_at": now, "above": message.above}
    if isinstance(message, RecoverMessage):
        item["asked_at"] = message.asked_at
    return table.overwrite(item)


def list_markers(table: Table, *, limit: int) -> list[tuple[WebhookMessage, Micros]]:
    """Read the markers, as messages, and when each was written."""
    items, _ = table.query(keyspace.WAKE.pk("PENDING"), limit=limit)
    markers: list[tuple[WebhookMessage, Micros]] = []
    for item in items:
        account_id, webhook_id, *_ = item["sk"].split("#")
        message: WebhookMessage = UnparkMessage(account_id, webhook_id, item["above"])
        if "asked_at" in item:
            message = RecoverMessage(account_id, webhook_id, item["above"], item["asked_at"])
        markers.append((message, item["marked_at"]))
    return markers


def delete_marker(table: Table, message: WebhookMessage, *, marked_at: Micros) -> Write:
    """Delete a marker. The condition fails if it was written again since `marked_at`."""
    return table.delete_if(
        _marker_key(message),
        condition="marked_at = :seen",
        names={},
        values={":seen": marked_at},
    )


def _to_item(delivery: Delivery) -> Item:
    item: Item = {
        **_key(delivery.id),
        "account_id": delivery.account_id,
        "webhook_id": delivery.webhook_id,
        "signal_id": delivery.signal_id,
        "event": delivery.event,
        "created_at": delivery.created_at,
        "expires_at": delivery.expires_at,
        "ttl": delivery.expires_at // SECOND,
        "status": delivery.status.value,
        "next_attempt": delivery.next_attempt,
        "round": delivery.round,
        "step": delivery.step,
        "lease_until": delivery.lease_until,
        "sweeps": delivery.sweeps,
        "unsent": delivery.unsent,
        "listed_pk": _listing(delivery.webhook_id, PARKED if delivery.parked else delivery.status),
        "listed_sk": delivery.id,
    }
    for name in _OPTIONAL:
        value = getattr(delivery, name)
        if value is not None:
            item[name] = str(value) if name in {"parked", "reason"} else value
    if delivery.due_at is not None:
        item["due_pk"] = keyspace.DUE.pk(rules.shard_of(delivery.id))
    return item


def _from_item(item: Item) -> Delivery:
    fields: dict[str, Any] = {name: item.get(name) for name in _OPTIONAL}
    parked, reason = fields.pop("parked"), fields.pop("reason")
    return Delivery(
        id=_id(item),
        account_id=item["account_id"],
        webhook_id=item["webhook_id"],
        signal_id=item["signal_id"],
        event=item["event"],
        created_at=item["created_at"],
        expires_at=item["expires_at"],
        status=DeliveryStatus(item["status"]),
        next_attempt=item["next_attempt"],
        round=item["round"],
        step=item["step"],
        lease_until=item["lease_until"],
        sweeps=item["sweeps"],
        unsent=item["unsent"],
        parked=None if parked is None else ParkReason(parked),
        reason=None if reason is None else DeadLetterReason(reason),
        **fields,
    )


def _values(seen: Delivery) -> dict[str, Any]:
    return {
        ":attempt": seen.next_attempt,
        ":status": seen.status.value,
        ":lease": seen.lease_until,
        ":round": seen.round,
    }


def _id(item: Item) -> str:
    return keyspace.DELIVERY.rest_of(str(item["pk"]))


def _pk(delivery_id: str) -> str:
    return keyspace.DELIVERY.pk(delivery_id)


def _key(delivery_id: str) -> dict[str, str]:
    return {"pk": _pk(delivery_id), "sk": "DELIVERY"}


def _marker_key(message: WebhookMessage) -> dict[str, str]:
    sk = f"{message.account_id}#{message.webhook_id}"
    if isinstance(message, RecoverMessage):
        # Each recovery has its own marker, since each covers other dead letters.
        sk += f"#{message.asked_at}"
    return {"pk": keyspace.WAKE.pk("PENDING"), "sk": sk}


def _listing(webhook_id: str, state: str) -> str:
    return keyspace.LISTED.pk(webhook_id, state)
