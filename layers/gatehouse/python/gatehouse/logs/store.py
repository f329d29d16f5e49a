"""The items of viewers; `watches` has that of the group they look at.

VIEWERS#<group> / <connection>    a viewer, found by the group that sent a line
CONN#<connection> / CONN          where a connection's viewer is
VIEWING#<account> / COUNT         how many sockets an account has
HELD#<connection> / <number>      lines that came while the backlog was still on its way
"""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Iterator, Sequence

from gatehouse.core.clock import HOUR, SECOND, Micros
from gatehouse.core.errors import BoundReached, Unavailable
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import (
    ConditionFailed,
    Item,
    Table,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)
from gatehouse.logs import watch_store
from gatehouse.logs.model import (
    MOST_VIEWERS,
    MOST_VIEWERS_OF_ACCOUNT,
    Line,
    Viewer,
    Wanted,
)

_TRIES = 8
_FIRST_WAIT = 0.01  # seconds
_LONGEST_WAIT = 0.5
_PAGE = 100
_LARGEST_BODY = 300_000  # bytes, of the 400 KB of an item
_KEPT: Micros = 3 * HOUR  # longer than any socket, for what a crash leaves behind


def viewers(table: Table, group: str) -> list[Viewer]:
    """List who looks at a group."""
    return [_viewer(item) for item in table.query_all(keyspace.VIEWERS.pk(group))]


def viewer(table: Table, group: str, connection: str) -> Viewer | None:
    """Read one viewer."""
    item = table.get(_viewer_key(group, connection))
    return None if item is None else _viewer(item)


def group_of(table: Table, connection: str) -> str | None:
    """Tell what a connection looks at."""
    item = table.get(_connection_key(connection))
    return None if item is None else str(item["group"])


def enter(table: Table, new: Viewer) -> None:
    """Let somebody look, and count. Raises BoundReached, Unavailable."""
    writes = [
        _count(table, watch_store.key(new.group), most=MOST_VIEWERS),
        _count(table, _account_key(new.account_id), most=MOST_VIEWERS_OF_ACCOUNT),
        table.put_new(_viewer_item(new)),
        table.overwrite({**_connection_key(new.id), "group": new.group}),
    ]
    try:
        _together(table, writes)
    except TransactionCanceled as canceled:
        if canceled.failed.keys() & {0, 1} == set():
            return  # it is in already
        most = MOST_VIEWERS if 0 in canceled.failed else MOST_VIEWERS_OF_ACCOUNT
        whose = "A log group" if 0 in canceled.failed else "An account"
        raise BoundReached(f"{whose} has at most {most} viewers at a time") from canceled


def leave(table: Table, one: Viewer, *, now: Micros) -> bool:
    """Let somebody go, and count. False: they had gone already. Raises Unavailable."""
    writes = [
        table.delete_if(
            _viewer_key(one.group, one.id),
            condition="attribute_exists(pk)",
            names={},
            values={},
        ),
        table.delete(_connection_key(one.id)),
        _uncount(table, watch_store.key(one.group), also=("left_at", now)),
        _uncount(table, _account_key(one.account_id), also=None),
    ]
    try:
        _together(table, writes)
    except TransactionCanceled:
        return False
    return True


def hold(table: Table, one: Viewer, lines: Sequence[Line], *, now: Micros) -> int:
    """Hold lines back for a viewer whose backlog is on its way; say how many were.

    The others are to be sent: it lives by now, or left.
    """
    done, number = 0, one.held
    for some, body in _bodies(lines):
        following = _hold(table, one, body, number=number, now=now)
        if following is None:
            break
        done, number = done + some, following
    return done


def _hold(table: Table, one: Viewer, body: bytes, *, number: int, now: Micros) -> int | None:
    """Hold one body, as `number` or what it has become; say the next number."""
    for attempt in range(_TRIES):
        writes = [
            table.change(
                _viewer_key(one.group, one.id),
                "SET held = :next",
                condition="held = :number AND live = :no",
                names={},
                values={":next": number + 1, ":number": number, ":no": False},
            ),
            table.overwrite(
                {
                    "pk": keyspace.HELD.pk(one.id),
                    "sk": f"{number:06d}",
                    "body": body,
                    "ttl": (now + _KEPT) // SECOND,
                }
            ),
        ]
        try:
            _together(table, writes)
        except TransactionCanceled as canceled:
            item = canceled.failed.get(0)
            if item is None or item["live"]:
                return None
            number = item["held"]
            _wait(attempt)
        else:
            return number + 1
    raise Unavailable


def _bodies(lines: Sequence[Line]) -> Iterator[tuple[int, bytes]]:
    """Pack lines into as few items as can hold them; say how many are in each."""
    said = [[line.id, line.at, line.message, line.part, line.parts] for line in lines]
    body = zlib.compress(json.dumps(said).encode())
    if len(body) <= _LARGEST_BODY or len(lines) == 1:
        yield len(lines), body
        return
    half = len(lines) // 2
    yield from _bodies(lines[:half])
    yield from _bodies(lines[half:])


def held(table: Table, connection: str, *, first: int) -> list[list[Line]]:
    """Read what was held back for a viewer, from a number on."""
    after = {"pk": keyspace.HELD.pk(connection), "sk": f"{first - 1:06d}"} if first else None
    found: list[list[Line]] = []
    more = True
    while more:
        items, more = table.query(keyspace.HELD.pk(connection), after=after, limit=_PAGE)
        found += [
            [Line(*entry) for entry in json.loads(zlib.decompress(item["body"]))] for item in items
        ]
        after = {"pk": items[-1]["pk"], "sk": items[-1]["sk"]} if items else after
    return found


def drop_held(table: Table, connection: str) -> None:
    """Forget what was held back."""
    keys = [
        {"pk": item["pk"], "sk": item["sk"]}
        for item in table.query_all(keyspace.HELD.pk(connection))
    ]
    for start in range(0, len(keys), _PAGE):
        _together(table, [table.delete(key) for key in keys[start : start + _PAGE]])


def let_live(table: Table, one: Viewer, *, held: int) -> bool:
    """Let a viewer live, unless more was held back than was given to it."""
    try:
        table.update(
            _viewer_key(one.group, one.id),
            "SET live = :yes",
            condition="held = :held",
            names={},
            values={":yes": True, ":held": held},
        )
    except ConditionFailed:
        return False
    return True


def pinged(table: Table, one: Viewer, *, now: Micros) -> None:
    """Note that a viewer was there."""
    try:
        table.update(
            _viewer_key(one.group, one.id),
            "SET pinged_at = :now",
            condition="attribute_exists(pk)",
            names={},
            values={":now": now},
        )
    except ConditionFailed:
        return


def _count(table: Table, key: dict[str, str], *, most: int) -> Write:
    return table.change(
        key,
        "SET viewers = if_not_exists(viewers, :none) + :one",
        condition="attribute_not_exists(viewers) OR viewers < :most",
        names={},
        values={":none": 0, ":one": 1, ":most": most},
    )


def _uncount(table: Table, key: dict[str, str], *, also: tuple[str, int] | None) -> Write:
    expression = "SET viewers = viewers - :one" + (f", {also[0]} = :also" if also else "")
    return table.change(
        key,
        expression,
        condition="viewers > :none",
        names={},
        values={":one": 1, ":none": 0} | ({":also": also[1]} if also else {}),
    )


def _together(table: Table, writes: Sequence[Write]) -> None:
    """Do all or none, again and again while others count at the same time."""
    for attempt in range(_TRIES):
        try:
            return transact(table.client, writes)
        except TransactionCanceled as canceled:
            if canceled.failed:
                raise
        except TransactionConflict:
            pass
        _wait(attempt)
    raise Unavailable


def _wait(attempt: int) -> None:
    ceiling = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
    time.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter


def _viewer_item(one: Viewer) -> Item:
    item: Item = {
        **_viewer_key(one.group, one.id),
        "service": one.service,
        "account_id": one.account_id,
        "key_id": one.key_id,
        "digest": one.digest,
        "lines": one.wanted.lines,
        "opened_at": one.opened_at,
        "pinged_at": one.pinged_at,
        "live": one.live,
        "held": one.held,
    }
    if one.wanted.since is not None:
        item["since"] = one.wanted.since
    return item


def _viewer(item: Item) -> Viewer:
    return Viewer(
        id=item["sk"],
        group=keyspace.VIEWERS.rest_of(item["pk"]),
        service=item["service"],
        account_id=item["account_id"],
        key_id=item["key_id"],
        digest=item["digest"],
        wanted=Wanted(item["lines"], item.get("since")),
        opened_at=item["opened_at"],
        pinged_at=item["pinged_at"],
        live=item["live"],
        held=item["held"],
    )


def _viewer_key(group: str, connection: str) -> dict[str, str]:
    return {"pk": keyspace.VIEWERS.pk(group), "sk": connection}


def _connection_key(connection: str) -> dict[str, str]:
    return {"pk": keyspace.CONN.pk(connection), "sk": "CONN"}


def _account_key(account_id: str) -> dict[str, str]:
    return {"pk": keyspace.VIEWING.pk(account_id), "sk": "COUNT"}
