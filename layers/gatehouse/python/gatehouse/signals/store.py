"""`SIGNAL#<account>#<day>` by id; the day is read off the id's own time.

While a signal is to be fanned out it has `fanout`, which wakes the stream's reader, and stands in
the index `by_due` in one of 16 shards, where the sweeper finds what that reader left.
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
# Attributes that are there only where the signal has them.
_OPTIONAL = ("from_role", "to_role", "to_ring", "to_identity", "parent_id", "origin_peer")


def record(table: Table, signal: Signal) -> Write:
    """Write a new signal (for a transaction)."""
    return table.put_new(_item(signal))


def insert(table: Table, signal: Signal) -> None:
    """Write a new signal."""
    try:
        table.insert(_item(signal))
    except ConditionFailed:
        # The id is this request's own, so what stands there is this very signal: the client
        # tried again after an answer that was lost.
        return


def read(table: Table, account_id: str, signal_id: str) -> Signal | None:
    """Read a signal, past its retention or not; None where there is none."""
    item = table.get(_key(account_id, signal_id))
    return None if item is None else from_item(item)


def read_day(
    table: Table, account_id: str, *, day: int, before: str | None, limit: int
) -> tuple[list[Signal], bool]:
    """Read signals of one day, newest first, older than the id `before`; True: maybe more."""
    items, more = table.query(_pk(account_id, day), below=before, newest_first=True, limit=limit)
    return [from_item(item) for item in items], more


def claim(table: Table, signal: Signal, *, by: str, until: Micros, now: Micros) -> Signal:
    """Lease a signal to an identity. Raises ConditionFailed where another one has it."""
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
    """Note that the claimer is done. Raises ConditionFailed where its claim does not live."""
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


def fanned_out(table: Table, signal: Signal) -> None:
    """Note that every delivery of the signal is made; quiet where the signal is gone."""
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


def overdue(table: Table, *, shard: int, before: Micros, limit: int) -> list[Item]:
    """Give the keys of a shard's signals that were due before a moment, longest due first."""
    found = table.between(
        keyspace.FANOUT.pk(shard),
        index="by_due",
        names=("due_pk", "due_at"),
        high=before,
        limit=limit,
    )
    return [{"pk": item["pk"], "sk": item["sk"]} for item in found]


def read_pending(table: Table, keys: list[Item]) -> list[Signal]:
    """Read those of the signals that are still to be fanned out; an index lags behind."""
    return [from_item(item) for item in table.batch_get(keys) if item.get("fanout") == PENDING]


def from_image(image: Mapping[str, Any]) -> Signal:
    """Read a signal off a stream's record."""
    return from_item(attributes.unmarshal(image))


def from_item(item: Item) -> Signal:
    """Read a signal off its item."""
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
