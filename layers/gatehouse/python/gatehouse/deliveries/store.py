"""`DELIVERY#<id>`: the delivery, and its attempts beside it as `ATTEMPT#<n>`.

`by_due` finds what the sweeper is to look at, `by_listing` a webhook's deliveries by state; both
lag behind the table by moments, so whoever uses them reads the items again.
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
    Death,
    Delivery,
    Parked,
    Recover,
    Status,
    Wake,
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
_UNTOUCHED = (
    "next_attempt = :attempt AND #status = :status AND lease_until = :lease AND #round = :round"
)
_NAMES = {"#status": "status", "#round": "round"}

# Parked deliveries have a partition of their own, since waking reads just them.
PARKED = "parked"


def create(table: Table, delivery: Delivery) -> Write:
    """Write a new delivery (for a transaction)."""
    return table.put_new(_to_item(delivery))


def insert(table: Table, delivery: Delivery) -> Delivery:
    """Write a new delivery, or give the one of that id that is there."""
    try:
        table.insert(_to_item(delivery))
    except ConditionFailed as failed:
        if failed.item is not None:
            return _from_item(failed.item)
    except TransactionConflict as conflict:
        raise Unavailable from conflict
    return delivery


def find(table: Table, delivery_id: str) -> Delivery | None:
    """Read a delivery by its id alone, consistently."""
    item = table.get(_key(delivery_id))
    return None if item is None else _from_item(item)


def find_all(table: Table, delivery_ids: Sequence[str]) -> list[Delivery]:
    """Read deliveries, consistently, in the order of the ids; those that are gone are left out."""
    items = table.batch_get([_key(one) for one in delivery_ids])
    found = {delivery.id: delivery for delivery in map(_from_item, items)}
    return [found[one] for one in delivery_ids if one in found]


def attempts(table: Table, delivery_id: str, *, limit: int) -> list[Attempt]:
    """Read the last attempts of a delivery, the first of them first."""
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
    """Take the lease of one attempt; None: it is somebody else's, or made, or not to be made."""
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
                ":pending": Status.PENDING.value,
                ":retrying": Status.RETRYING.value,
                ":now": now,
            },
        )
    except ConditionFailed:
        return None
    except TransactionConflict as conflict:
        raise Unavailable from conflict  # the message comes back
    return _from_item(item)


def replace(table: Table, after: Delivery, *, seen: Delivery) -> Write:
    """Write a changed delivery, if nobody claimed, recorded or replayed it since it was seen.

    That the sweeper looked at it meanwhile does not matter.
    """
    return table.put(_to_item(after), condition=_UNTOUCHED, names=_NAMES, values=_values(seen))


def move(table: Table, after: Delivery, *, seen: Delivery) -> Write:
    """Write a delivery as the sweeper leaves it, if no other sweeper was faster."""
    return table.put(
        _to_item(after),
        condition=f"{_UNTOUCHED} AND due_at = :due_at",
        names=_NAMES,
        values=_values(seen) | {":due_at": seen.due_at},
    )


def record(table: Table, delivery: Delivery, attempt: Attempt) -> Write:
    """Write an attempt down (for a transaction). One that is repeated after a crash replaces it."""
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


def due(table: Table, shard: int, *, now: Micros, limit: int) -> list[str]:
    """Find the ids of one shard that the sweeper is to look at, the longest due first."""
    items = table.between(keyspace.DUE.pk(shard), index="by_due", names=_DUE, high=now, limit=limit)
    return [_id(item) for item in items]


def listed(
    table: Table,
    webhook_id: str,
    state: str,
    *,
    low: str | None = None,
    high: str | None = None,
    newest_first: bool = True,
    limit: int,
) -> list[str]:
    """Find the ids of a webhook's deliveries in a state (or `parked`), newest first or oldest."""
    items = table.between(
        _listing(webhook_id, state),
        index="by_listing",
        names=_LISTED,
        low=low or None,  # an index has no empty keys
        high=high,
        newest_first=newest_first,
        limit=limit,
    )
    return [_id(item) for item in items]


def mark(table: Table, message: Wake | Recover, *, now: Micros) -> Write:
    """Note what is to be done with a webhook's deliveries (for a transaction)."""
    item: Item = {**_mark(message), "marked_at": now, "above": message.above}
    if isinstance(message, Recover):
        item["asked_at"] = message.asked_at
    return table.overwrite(item)


def marks(table: Table, *, limit: int) -> list[tuple[Wake | Recover, Micros]]:
    """Read the notes, and when each was made."""
    items, _ = table.query(keyspace.WAKE.pk("PENDING"), limit=limit)
    found: list[tuple[Wake | Recover, Micros]] = []
    for item in items:
        account_id, webhook_id, *_ = item["sk"].split("#")
        message: Wake | Recover = Wake(account_id, webhook_id, item["above"])
        if "asked_at" in item:
            message = Recover(account_id, webhook_id, item["above"], item["asked_at"])
        found.append((message, item["marked_at"]))
    return found


def unmark(table: Table, message: Wake | Recover, *, marked_at: Micros) -> Write:
    """Take a note away, if it is still that one."""
    return table.delete_if(
        _mark(message),
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
        item["due_pk"] = keyspace.DUE.pk(rules.shard(delivery.id))
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
        status=Status(item["status"]),
        next_attempt=item["next_attempt"],
        round=item["round"],
        step=item["step"],
        lease_until=item["lease_until"],
        sweeps=item["sweeps"],
        unsent=item["unsent"],
        parked=None if parked is None else Parked(parked),
        reason=None if reason is None else Death(reason),
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


def _mark(message: Wake | Recover) -> dict[str, str]:
    place = f"{message.account_id}#{message.webhook_id}"
    if isinstance(message, Recover):
        # Each recovery has a note of its own: what it was asked is no other's.
        place += f"#{message.asked_at}"
    return {"pk": keyspace.WAKE.pk("PENDING"), "sk": place}


def _listing(webhook_id: str, state: str) -> str:
    return keyspace.LISTED.pk(webhook_id, state)
