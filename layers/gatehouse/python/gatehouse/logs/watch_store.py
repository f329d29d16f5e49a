"""The item of a watched group, WATCHED / <group>: its filter, its polls, how many look at it."""

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


def read(table: Table, group: str) -> Watch | None:
    """Read what is known of a watched group."""
    item = table.get(key(group))
    return None if item is None else _watch(item)


def listed(table: Table) -> list[Watch]:
    """List every watched group."""
    return [_watch(item) for item in table.query_all(_WATCHED)]


def ask_filter(table: Table, group: str, *, name: str, now: Micros) -> Watch | None:
    """Note that the filter is being asked for, if somebody looks. `name` counts for a new one.

    None: nobody looks any more.
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
    return _watch(item)


def has_filter(table: Table, group: str, *, name: str, now: Micros) -> None:
    """Note that CloudWatch has the filter, for the first time or again."""
    _change(
        table,
        group,
        "SET filter_at = if_not_exists(filter_at, :now) REMOVE refused",
        condition="#filter = :name",
        names={"#filter": "filter"},
        values={":name": name, ":now": now},
    )


def has_none(table: Table, group: str) -> None:
    """Note that CloudWatch would not have the filter."""
    _change(
        table,
        group,
        "SET refused = :yes REMOVE filter_at, delivered_at",
        condition="attribute_exists(pk)",
        names={},
        values={":yes": True},
    )


def has_delivered(
    table: Table,
    group: str,
    *,
    name: str,
    at: Millis,
    cursor: Millis,
    seen: Sequence[str],
) -> None:
    """Note that the filter has sent its first lines, and what was read and sent beside them."""
    _change(
        table,
        group,
        "SET #cursor = :cursor, seen = :seen, delivered_at = :at",
        condition="#filter = :name AND attribute_not_exists(delivered_at)",
        names={"#filter": "filter", "#cursor": "cursor"},
        values={":name": name, ":cursor": cursor, ":seen": _packed(seen), ":at": at},
    )


def retire_filter(table: Table, seen: Watch) -> bool:
    """Take the filter off the watch, to be deleted, unless somebody looks again."""
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


def retired(table: Table, group: str, names: Sequence[str]) -> None:
    """Note that the filters are deleted."""
    _change(
        table,
        group,
        "REMOVE retiring",
        condition="retiring = :names",
        names={},
        values={":names": list(names)},
    )


def forget(table: Table, group: str) -> None:
    """Forget a group at which nobody looks and that has no filter any more."""
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


def begin_polls(
    table: Table,
    watch: Watch,
    *,
    since: Millis,
    cursor: Millis,
    seen: Sequence[str],
    now: Micros,
) -> int | None:
    """Begin a chain of polls, or one in place of the watch's own; give its first turn.

    None: somebody else has begun one.
    """
    turn = watch.turn + 1
    begun = _change(
        table,
        watch.group,
        "SET polling = :yes, turn = :turn, polled_at = :now, since = :since,"
        " #cursor = :cursor, seen = :seen",
        # A group that was forgotten meanwhile is not made again, without its viewers.
        condition="attribute_exists(viewers) AND "
        + ("turn = :was" if watch.turn else "attribute_not_exists(turn)"),
        names={"#cursor": "cursor"},
        values={
            ":yes": True,
            ":turn": turn,
            ":now": now,
            ":since": since,
            ":cursor": cursor,
            ":seen": _packed(seen),
        }
        | ({":was": watch.turn} if watch.turn else {}),
    )
    return turn if begun else None


def take_turn(table: Table, group: str, *, turn: int, now: Micros) -> Watch | None:
    """Take one turn of a chain; None where it was taken, or another chain has begun."""
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
    return _watch(item)


def end_turn(
    table: Table, group: str, *, turn: int, cursor: Millis, seen: Sequence[str], going_on: bool
) -> bool:
    """Note how far a turn has read. False: another chain has begun meanwhile."""
    return _change(
        table,
        group,
        "SET #cursor = :cursor, seen = :seen, polling = :going",
        condition="turn = :turn",
        names={"#cursor": "cursor"},
        values={
            ":cursor": cursor,
            ":seen": _packed(seen),
            ":going": going_on,
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


def _packed(names: Sequence[str]) -> bytes:
    return zlib.compress("\n".join(names).encode())


def _watch(item: Item) -> Watch:
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
    """Name the item of a group."""
    return {"pk": _WATCHED, "sk": group}
