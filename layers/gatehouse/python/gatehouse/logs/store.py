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
from collections.abc import Sequence

from gatehouse.clock import Micros
from gatehouse.errors import BoundReached, Unavailable
from gatehouse.logs import watches
from gatehouse.logs.model import (
    MOST_VIEWERS,
    MOST_VIEWERS_OF_ACCOUNT,
    Line,
    Viewer,
    Wanted,
)
from gatehouse.table import (
    ConditionFailed,
    Item,
    Table,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)

_TRIES = 8
_FIRST_WAIT = 0.01  # seconds
_LONGEST_WAIT = 0.5
_PAGE = 100


def viewers(table: Table, group: str) -> list[Viewer]:
    """List who looks at a group."""
    return [_viewer(item) for item in table.everything(f"VIEWERS#{group}")]


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
        _count(table, watches.key(new.group), most=MOST_VIEWERS),
        _count(table, _account_key(new.account_id), most=MOST_VIEWERS_OF_ACCOUNT),
        table.overwrite(_viewer_item(new)),
        table.overwrite({**_connection_key(new.id), "group": new.group}),
    ]
    try:
        _together(table, writes)
    except TransactionCanceled as canceled:
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
        _uncount(table, watches.key(one.group), also=("left_at", now)),
        _uncount(table, _account_key(one.account_id), also=None),
    ]
    try:
        _together(table, writes)
    except TransactionCanceled:
        return False
    return True


def hold(table: Table, one: Viewer, lines: Sequence[Line], *, number: int) -> bool:
    """Hold lines back for a viewer whose backlog is on its way. False: it lives by now, or left.

    `number` is how many were held before; where others were held meanwhile it is tried again.
    """
    body = zlib.compress(json.dumps([[line.id, line.at, line.message] for line in lines]).encode())
    for _ in range(_TRIES):
        writes = [
            table.change(
                _viewer_key(one.group, one.id),
                "SET held = :next",
                condition="held = :number AND live = :no",
                names={},
                values={":next": number + 1, ":number": number, ":no": False},
            ),
            table.overwrite({"pk": f"HELD#{one.id}", "sk": f"{number:06d}", "body": body}),
        ]
        try:
            _together(table, writes)
        except TransactionCanceled as canceled:
            item = canceled.failed.get(0)
            if item is None or item["live"]:
                return False
            number = item["held"]
        else:
            return True
    raise Unavailable


def held(table: Table, connection: str, *, first: int) -> list[list[Line]]:
    """Read what was held back for a viewer, from a number on."""
    items = table.everything(f"HELD#{connection}")
    return [
        [Line(*entry) for entry in json.loads(zlib.decompress(item["body"]))]
        for item in items
        if int(item["sk"]) >= first
    ]


def drop_held(table: Table, connection: str) -> None:
    """Forget what was held back."""
    keys = [{"pk": item["pk"], "sk": item["sk"]} for item in table.everything(f"HELD#{connection}")]
    for start in range(0, len(keys), _PAGE):
        transact(table.client, [table.delete(key) for key in keys[start : start + _PAGE]])


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
        ceiling = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
        time.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter
    raise Unavailable


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
        group=item["pk"].removeprefix("VIEWERS#"),
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
    return {"pk": f"VIEWERS#{group}", "sk": connection}


def _connection_key(connection: str) -> dict[str, str]:
    return {"pk": f"CONN#{connection}", "sk": "CONN"}


def _account_key(account_id: str) -> dict[str, str]:
    return {"pk": f"VIEWING#{account_id}", "sk": "COUNT"}
