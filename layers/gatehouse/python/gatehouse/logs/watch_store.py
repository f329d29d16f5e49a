"""The item of a watched log group, WATCHED / <group>: its filter, polls and number of viewers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from gatehouse.core.clock import Micros
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import (
    ConditionFailed,
    Item,
    Table,
    TransactionCanceled,
    TransactionConflict,
    transact,
)
from gatehouse.logs.model import Millis, Watch

_WATCHED = keyspace.WATCHED.pk()


def find(table: Table, group: str) -> Watch | None:
    """Read one watched group."""
    item = table.get(key(group))
    return None if item is None else _from_item(item)


def list_all(table: Table) -> list[Watch]:
    """List every watched group."""
    return [_from_item(item) for item in table.query_all(_WATCHED)]


def start_filter(table: Table, group: str, *, name: str, now: Micros) -> Watch | None:
    """Record that we are about to put the filter. `name` is used unless it has one already.

    Returns None if the group has no viewers any more.
    """
    try:
        item = table.update(
            key(group),
            "SET #filter = if_not_exists(#filter, :name), tried_at = :now",
            condition="viewers > :none",
            names={"#filter": "filter"},
            values={":name": name, ":now": now, ":none": 0},
        )
    except ConditionFailed:
        return None
    return _from_item(item)


def filter_accepted(table: Table, group: str, *, name: str, now: Micros) -> None:
    """Record that CloudWatch accepted the filter, for the first time or again."""
    _change(
        table,
        group,
        "SET filter_at = if_not_exists(filter_at, :now) REMOVE refused",
        condition="#filter = :name",
        names={"#filter": "filter"},
        values={":name": name, ":now": now},
    )


def filter_rejected(table: Table, group: str) -> None:
    """Record that CloudWatch rejected the filter."""
    _change(
        table,
        group,
        "SET refused = :yes REMOVE filter_at, delivered_at",
        condition="attribute_exists(pk)",
        names={},
        values={":yes": True},
    )


def filter_delivered(
    table: Table,
    group: str,
    *,
    name: str,
    at: Millis,
    cursor: Millis,
    seen: Sequence[str],
) -> None:
    """Record the filter's first push, and up to where lines were read and sent with it."""
    _change(
        table,
        group,
        "SET #cursor = :cursor, seen = :seen, delivered_at = :at",
        condition="#filter = :name AND attribute_not_exists(delivered_at)",
        names={"#filter": "filter", "#cursor": "cursor"},
        values={":name": name, ":cursor": cursor, ":seen": _pack(seen), ":at": at},
    )


def retire_filter(table: Table, seen: Watch) -> bool:
    """Move the filter to those to delete. Returns False if the group has viewers again."""
    return _change(
        table,
        seen.group,
        "SET retiring = :retiring REMOVE #filter, filter_at, delivered_at, refused",
        condition="viewers = :none AND left_at = :left AND #filter = :name",
        names={"#filter": "filter"},
        values={
            ":retiring": [*seen.retiring, seen.filter],
            ":none": 0,
            ":left": seen.left_at,
            ":name": seen.filter,
        },
    )


def filters_deleted(table: Table, group: str, names: Sequence[str]) -> None:
    """Record that the retired filters are deleted."""
    _change(
        table,
        group,
        "REMOVE retiring",
        condition="retiring = :names",
        names={},
        values={":names": list(names)},
    )


def delete_unused(table: Table, group: str) -> None:
    """Delete the item of a group, unless it has viewers or a filter."""
    write = table.delete_if(
        key(group),
        condition="viewers = :none AND attribute_not_exists(#filter)"
        " AND attribute_not_exists(retiring)",
        names={"#filter": "filter"},
        values={":none": 0},
    )
    try:
        transact(table.client, [write])
    except (TransactionCanceled, TransactionConflict):
        return


def start_polls(
    table: Table,
    watch: Watch,
    *,
    since: Millis,
    cursor: Millis,
    seen: Sequence[str],
    now: Micros,
) -> int | None:
    """Start a series of polls, which replaces the current one; return its first turn.

    Returns None if another process has started one since the watch was read.
    """
    turn = watch.turn + 1
    started = _change(
        table,
        watch.group,
        "SET polling = :yes, turn = :turn, polled_at = :now, since = :since,"
        " #cursor = :cursor, seen = :seen",
        # If the item was deleted since, this must not create one without viewers.
        condition="attribute_exists(viewers) AND "
        + ("turn = :was" if watch.turn else "attribute_not_exists(turn)"),
        names={"#cursor": "cursor"},
        values={
            ":yes": True,
            ":turn": turn,
            ":now": now,
            ":since": since,
            ":cursor": cursor,
            ":seen": _pack(seen),
        }
        | ({":was": watch.turn} if watch.turn else {}),
    )
    return turn if started else None


def take_turn(table: Table, group: str, *, turn: int, now: Micros) -> Watch | None:
    """Take one turn of a series of polls; None if it was taken, or another series has started."""
    try:
        item = table.update(
            key(group),
            "SET turn = :next, polled_at = :now",
            condition="turn = :turn AND polling = :yes",
            names={},
            values={":next": turn + 1, ":turn": turn, ":now": now, ":yes": True},
        )
    except ConditionFailed:
        return None
    return _from_item(item)


def end_turn(
    table: Table, group: str, *, turn: int, cursor: Millis, seen: Sequence[str], more: bool
) -> bool:
    """Record up to where a poll has read. Returns False if another series has started."""
    return _change(
        table,
        group,
        "SET #cursor = :cursor, seen = :seen, polling = :polling",
        condition="turn = :turn",
        names={"#cursor": "cursor"},
        values={
            ":cursor": cursor,
            ":seen": _pack(seen),
            ":polling": more,
            ":turn": turn,
        },
    )


def _change(
    table: Table,
    group: str,
    expression: str,
    *,
    condition: str,
    names: dict[str, str],
    values: dict[str, object],
) -> bool:
    try:
        table.update(key(group), expression, condition=condition, names=names, values=values)
    except ConditionFailed:
        return False
    return True


def _pack(ids: Sequence[str]) -> bytes:
    return zlib.compress("\n".join(ids).encode())


def _from_item(item: Item) -> Watch:
    seen = zlib.decompress(item["seen"]).decode() if "seen" in item else ""
    return Watch(
        group=item["sk"],
        viewers=item["viewers"],
        filter=item.get("filter", ""),
        filter_at=item.get("filter_at"),
        tried_at=item.get("tried_at", 0),
        refused=item.get("refused", False),
        delivered_at=item.get("delivered_at"),
        retiring=tuple(item.get("retiring", ())),
        left_at=item.get("left_at", 0),
        turn=item.get("turn", 0),
        polling=item.get("polling", False),
        polled_at=item.get("polled_at", 0),
        since=item.get("since", 0),
        cursor=item.get("cursor", 0),
        seen=tuple(seen.split("\n")) if seen else (),
    )


def key(group: str) -> dict[str, str]:
    """Return the key of a group's item."""
    return {"pk": _WATCHED, "sk": group}
