"""`SIGNAL#<account>#<lane>` by id, in 16 lanes, and `FANOUT#<shard>`: signals still to fan out.

A signal to fan out has the attribute `fanout`, which the stream's reader is filtered by, and a
mark in one of 32 shards. The mark is written before the signal, or with it, and deleted when the
fan-out is finished: a signal is never rewritten for it. The sweeper finds the marks that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gatehouse.core import ids
from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo import attributes, keyspace, lanes
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.signals.model import Mark, Signal, TaskStatus

LANES = 16
SHARDS = 32
_WANTED = "wanted"
# Attributes that are stored only if the signal has them.
_OPTIONAL = ("from_role", "to_role", "to_ring", "to_identity", "parent_id", "origin_peer")


def create(table: Table, signal: Signal) -> dict[str, Write]:
    """Return the writes of a new signal and its mark, for one transaction."""
    writes = {"signal": table.put_new(_item(signal))}
    if signal.pending:
        writes["mark"] = table.overwrite(_mark(signal))
    return writes


def insert(table: Table, signal: Signal) -> None:
    """Write a new signal.

    The mark is written first. If the process dies in between, nobody was answered, and the sweeper
    deletes the mark.
    """
    if signal.pending:
        table.write(table.overwrite(_mark(signal)))
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


def newest_first(
    table: Table, account_id: str, *, before: str | None, limit: int
) -> Iterator[Signal]:
    """Yield an account's signals that are older than the id `before`, newest first.

    `limit` is how many are likely wanted: each lane is read in pages of about its share.
    """
    size = limit // LANES + 1

    def read(lane: int, after: str | None) -> tuple[list[Signal], bool]:
        pk = keyspace.SIGNAL.pk(account_id, lane)
        items, more = table.query(pk, below=after or before, newest_first=True, limit=size)
        return [from_item(item) for item in items], more

    return lanes.merged(read, range(LANES), key=lambda one: one.id, newest_first=True)


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


def mark_fanned_out(table: Table, signal_id: str) -> None:
    """Delete a signal's mark: its fan-out is finished. Does nothing if there is none."""
    table.write(table.delete(_mark_key(signal_id)))


def list_overdue(table: Table, shard: int, *, before: Micros, limit: int) -> list[Mark]:
    """List a shard's marks of signals that were emitted before a moment, oldest first."""
    items, _ = table.query(keyspace.FANOUT.pk(shard), below=ids.lowest(before), limit=limit)
    return [Mark(item["account_id"], item["sk"]) for item in items]


def with_state(table: Table, signals: Sequence[Signal]) -> list[Signal]:
    """Return signals with `pending` as their marks say now."""
    keys = [_mark_key(one.id) for one in signals if one.pending]
    marked = {item["sk"] for item in table.batch_get(keys)}
    return [replace(one, pending=one.id in marked) for one in signals]


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
        pending="fanout" in item,
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
        item["fanout"] = _WANTED
    if signal.tags:
        item["tags"] = list(signal.tags)
    if signal.task_status is not None:
        item["task_status"] = signal.task_status.value
    for name in ("payload", "metadata"):
        if getattr(signal, name) != "{}":
            item[name] = getattr(signal, name)
    return item | {name: value for name in _OPTIONAL if (value := getattr(signal, name))}


def _key(account_id: str, signal_id: str) -> dict[str, str]:
    # The last digits of an id are random.
    return {"pk": keyspace.SIGNAL.pk(account_id, int(signal_id[-1], 16)), "sk": signal_id}


def _mark(signal: Signal) -> Item:
    return {**_mark_key(signal.id), "account_id": signal.account_id}


def _mark_key(signal_id: str) -> dict[str, str]:
    return {"pk": keyspace.FANOUT.pk(int(signal_id[-3:-1], 16) % SHARDS), "sk": signal_id}
