"""`SIGNAL#<account>#<day>` by id; the day comes from the time in the id.

Until its fan-out is finished, a signal has the attribute `fanout`, which the stream's reader is
filtered by, and is in one of 16 shards of the index `by_due`, where the sweeper finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatehouse.core import ids
from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo import attributes, keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.signals import rules
from gatehouse.signals.model import Signal, TaskStatus

SHARDS = 16
PENDING = "pending"
# Attributes that are stored only if the signal has them.
_OPTIONAL = ("from_role", "to_role", "to_ring", "to_identity", "parent_id", "origin_peer")


def create(table: Table, signal: Signal) -> Write:
    """Write a new signal (for a transaction)."""
    return table.put_new(_item(signal))


def insert(table: Table, signal: Signal) -> None:
    """Write a new signal."""
    try:
        table.insert(_item(signal))
    except ConditionFailed:
        # Only this request has the id, so the item is this signal: an earlier try wrote it, and
        # its response was lost.
        return


def find(table: Table, account_id: str, signal_id: str) -> Signal | None:
    """Read a signal, even past its retention; None if it does not exist."""
    item = table.get(_key(account_id, signal_id))
    return None if item is None else from_item(item)


def list_day(
    table: Table, account_id: str, *, day: int, before: str | None, limit: int
) -> tuple[list[Signal], bool]:
    """List signals of one day, newest first, older than the id `before`; True: maybe more."""
    items, more = table.query(_pk(account_id, day), below=before, newest_first=True, limit=limit)
    return [from_item(item) for item in items], more


def claim(table: Table, signal: Signal, *, by: str, until: Micros, now: Micros) -> Signal:
    """Lease a signal to an identity. Raises ConditionFailed if another one has the lease."""
    item = table.update(
        _key(signal.account_id, signal.id),
        "SET task_status = :claimed, claimed_by = :by, claim_expires_at = :until",
        condition="expires_at > :now AND (attribute_not_exists(task_status)"
        " OR task_status = :open OR (task_status = :claimed"
        " AND (claimed_by = :by OR claim_expires_at <= :now)))",
        names={},
        values={
            ":claimed": TaskStatus.CLAIMED.value,
            ":open": TaskStatus.OPEN.value,
            ":by": by,
            ":until": until,
            ":now": now,
        },
    )
    return from_item(item)


def ack(table: Table, signal: Signal, *, by: str, now: Micros) -> Signal:
    """Mark a signal as acknowledged. Raises ConditionFailed without a live claim of `by`."""
    item = table.update(
        _key(signal.account_id, signal.id),
        "SET task_status = :acked REMOVE claim_expires_at",
        condition="expires_at > :now AND task_status = :claimed"
        " AND claimed_by = :by AND claim_expires_at > :now",
        names={},
        values={
            ":acked": TaskStatus.ACKED.value,
            ":claimed": TaskStatus.CLAIMED.value,
            ":by": by,
            ":now": now,
        },
    )
    return from_item(item)


def mark_fanned_out(table: Table, signal: Signal) -> None:
    """Mark a signal's fan-out as finished; does nothing if the signal was deleted."""
    try:
        table.update(
            _key(signal.account_id, signal.id),
            "REMOVE fanout, due_pk, due_at",
            condition="attribute_exists(pk)",
            names={},
            values={},
        )
    except ConditionFailed:
        return


def list_overdue(table: Table, *, shard: int, before: Micros, limit: int) -> list[Item]:
    """List the keys of a shard's signals that were due before a moment, longest overdue first."""
    items = table.between(
        keyspace.FANOUT.pk(shard),
        index="by_due",
        names=("due_pk", "due_at"),
        high=before,
        limit=limit,
    )
    return [{"pk": item["pk"], "sk": item["sk"]} for item in items]


def list_pending(table: Table, keys: list[Item]) -> list[Signal]:
    """Read signals; leave out those fanned out since, which the index does not show yet."""
    return [from_item(item) for item in table.batch_get(keys) if item.get("fanout") == PENDING]


def from_image(image: Mapping[str, Any]) -> Signal:
    """Parse a signal in a stream record's image."""
    return from_item(attributes.unmarshal(image))


def from_item(item: Item) -> Signal:
    """Parse a signal's item."""
    status = item.get("task_status")
    return Signal(
        id=item["sk"],
        account_id=item["pk"].split("#")[1],
        type=item["type"],
        content=item["content"],
        from_identity=item["from_identity"],
        created_at=item["created_at"],
        expires_at=item["expires_at"],
        urgency=item["urgency"],
        tags=tuple(item.get("tags", ())),
        payload=item.get("payload", "{}"),
        metadata=item.get("metadata", "{}"),
        pending=item.get("fanout") == PENDING,
        task_status=None if status is None else TaskStatus(status),
        claimed_by=item.get("claimed_by"),
        claim_expires_at=item.get("claim_expires_at"),
        **{name: item.get(name) for name in _OPTIONAL},
    )


def _item(signal: Signal) -> Item:
    item: Item = {
        **_key(signal.account_id, signal.id),
        "type": signal.type,
        "content": signal.content,
        "from_identity": signal.from_identity,
        "created_at": signal.created_at,
        "expires_at": signal.expires_at,
        "urgency": signal.urgency,
        "ttl": signal.expires_at // SECOND,
    }
    if signal.pending:
        item["fanout"] = PENDING
        item["due_pk"] = keyspace.FANOUT.pk(int(signal.id[-1], 16) % SHARDS)
        item["due_at"] = signal.created_at + rules.OVERDUE_AFTER
    if signal.tags:
        item["tags"] = list(signal.tags)
    if signal.task_status is not None:
        item["task_status"] = signal.task_status.value
    for name in ("payload", "metadata"):
        if getattr(signal, name) != "{}":
            item[name] = getattr(signal, name)
    return item | {name: value for name in _OPTIONAL if (value := getattr(signal, name))}


def _key(account_id: str, signal_id: str) -> dict[str, str]:
    return {"pk": _pk(account_id, rules.day_of(ids.moment_of(signal_id))), "sk": signal_id}


def _pk(account_id: str, day: int) -> str:
    return keyspace.SIGNAL.pk(account_id, day)
