"""`DELIVERY#<webhook's part>#<lane>` by id, each with its last attempt.

A delivery's id says which partition it is in, and partitions are in the order of time: they are
the list of a webhook's deliveries. Index `by_due` finds what the sweeper may have to send, index
`by_listing` what is retrying, parked or a dead letter. Both are a moment behind the table, so
callers read the items they find again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import attempt_store, partition_rules, rules
from gatehouse.deliveries.model import (
    LEASE,
    DeadLetterReason,
    Delivery,
    DeliveryStatus,
    ParkReason,
)
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, TransactionConflict, Write

_DUE = ("due_pk", "due_at")
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


def create(table: Table, delivery: Delivery) -> Write:
    """Write a new delivery (for a transaction)."""
    return table.put_new(_to_item(delivery))


def insert(table: Table, delivery: Delivery) -> Delivery:
    """Write a new delivery and return it; if its id exists, return the stored one."""
    try:
        table.insert(_to_item(delivery))
    except ConditionFailed as failed:
        if failed.item is not None:
            return from_item(failed.item)
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return delivery


def find(table: Table, delivery_id: str) -> Delivery | None:
    """Read a delivery by its id, consistently; None if it does not exist."""
    item = table.get(_key(delivery_id))
    return None if item is None else from_item(item)


def list_by_ids(table: Table, delivery_ids: Sequence[str]) -> list[Delivery]:
    """Read deliveries, consistently, in the order of the ids; skips those that do not exist."""
    items = table.batch_get([_key(one) for one in delivery_ids])
    by_id = {delivery.id: delivery for delivery in map(from_item, items)}
    return [by_id[one] for one in delivery_ids if one in by_id]


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
    return from_item(item)


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


def record(table: Table, after: Delivery, *, seen: Delivery) -> bool:
    """Write a delivery with its next attempt, by itself; False if `replace` would fail.

    The attempt before must have moved out. Raises TransactionConflict and Unavailable.
    """
    try:
        table.write(replace(table, after, seen=seen))
    except ConditionFailed as failed:
        # A try whose response was lost may have written exactly this.
        return failed.item is not None and from_item(failed.item) == after
    return True


def list_due(
    table: Table, shard: int, *, low: Micros = 0, now: Micros, limit: int
) -> list[tuple[str, Micros]]:
    """List a shard's deliveries that are due for the sweeper: ids and times, longest due first.

    Those due from `low` on.
    """
    items = table.between(
        keyspace.DUE.pk(shard), index="by_due", names=_DUE, low=low, high=now, limit=limit
    )
    return [(item["sk"], item["due_at"]) for item in items]


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
    }
    for name in _OPTIONAL:
        value = getattr(delivery, name)
        if value is not None:
            item[name] = str(value) if name in {"parked", "reason"} else value
    if delivery.sweeps:
        item["sweeps"] = delivery.sweeps
    if delivery.unsent:
        item["unsent"] = True
    if delivery.last is not None:
        item["attempt"] = attempt_store.encode(delivery.last)
    if delivery.due_at is not None:
        item["due_pk"] = keyspace.DUE.pk(rules.shard_of(delivery.id))
    state = rules.listed_state(delivery)
    if state is not None:
        _, lane = partition_rules.partition_of(delivery.id)
        item["listed_pk"] = keyspace.LISTED.pk(delivery.webhook_id, state, lane)
    return item


def from_item(item: Item) -> Delivery:
    """Parse a delivery's item."""
    fields: dict[str, Any] = {name: item.get(name) for name in _OPTIONAL}
    parked, reason = fields.pop("parked"), fields.pop("reason")
    return Delivery(
        id=item["sk"],
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
        sweeps=item.get("sweeps", 0),
        unsent=item.get("unsent", False),
        parked=None if parked is None else ParkReason(parked),
        reason=None if reason is None else DeadLetterReason(reason),
        last=attempt_store.decode(item["attempt"]) if "attempt" in item else None,
        **fields,
    )


def _values(seen: Delivery) -> dict[str, Any]:
    return {
        ":attempt": seen.next_attempt,
        ":status": seen.status.value,
        ":lease": seen.lease_until,
        ":round": seen.round,
    }


def _key(delivery_id: str) -> dict[str, str]:
    return {
        "pk": keyspace.DELIVERY.pk(*partition_rules.partition_of(delivery_id)),
        "sk": delivery_id,
    }
