"""The items of viewers; `watch_store` has those of log groups, `held_store` those of held lines.

VIEWERS#<group> / <connection>    a viewer, found by the group whose lines it receives
CONN#<connection> / CONN          the log group of a connection
VIEWING#<account> / COUNT         the number of open sockets of an account
"""

from __future__ import annotations

from collections.abc import Sequence

from gatehouse.core.clock import Micros
from gatehouse.core.errors import BoundReached, Unavailable
from gatehouse.core.retry import Backoff
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
from gatehouse.logs.model import MOST_VIEWERS, MOST_VIEWERS_OF_ACCOUNT, BacklogRequest, Viewer

# For writes of many viewers to the same counter at once.
CONFLICTS = Backoff(8, first=0.01, longest=0.5)


def list_viewers(table: Table, group: str) -> list[Viewer]:
    """List the viewers of a log group."""
    return [_from_item(item) for item in table.query_all(keyspace.VIEWERS.pk(group))]


def find_viewer(table: Table, group: str, connection: str) -> Viewer | None:
    """Read one viewer."""
    item = table.get(viewer_key(group, connection))
    return None if item is None else _from_item(item)


def find_group(table: Table, connection: str) -> str | None:
    """Return the log group of a connection."""
    item = table.get(_connection_key(connection))
    return None if item is None else str(item["group"])


def add_viewer(table: Table, viewer: Viewer) -> None:
    """Write a new viewer and count it. Raises BoundReached, Unavailable."""
    writes = [
        _count(table, watch_store.key(viewer.group), most=MOST_VIEWERS),
        _count(table, _account_key(viewer.account_id), most=MOST_VIEWERS_OF_ACCOUNT),
        table.put_new(_item(viewer)),
        table.overwrite({**_connection_key(viewer.id), "group": viewer.group}),
    ]
    try:
        transact_with_retries(table, writes)
    except TransactionCanceled as canceled:
        if canceled.failed.keys() & {0, 1} == set():
            return  # an earlier attempt has written it
        most = MOST_VIEWERS if 0 in canceled.failed else MOST_VIEWERS_OF_ACCOUNT
        whose = "A log group" if 0 in canceled.failed else "An account"
        raise BoundReached(f"{whose} has at most {most} viewers at a time") from canceled


def remove_viewer(table: Table, viewer: Viewer, *, now: Micros) -> bool:
    """Delete a viewer and count down. False: it was deleted before. Raises Unavailable."""
    writes = [
        table.delete_if(
            viewer_key(viewer.group, viewer.id),
            condition="attribute_exists(pk)",
            names={},
            values={},
        ),
        table.delete(_connection_key(viewer.id)),
        _count_down(table, watch_store.key(viewer.group), also=("left_at", now)),
        _count_down(table, _account_key(viewer.account_id), also=None),
    ]
    try:
        transact_with_retries(table, writes)
    except TransactionCanceled:
        return False
    return True


def set_live(table: Table, viewer: Viewer, *, held: int) -> bool:
    """Mark a viewer as live. Returns False if it has other than `held` held items."""
    try:
        table.update(
            viewer_key(viewer.group, viewer.id),
            "SET live = :yes",
            condition="held = :held",
            names={},
            values={":yes": True, ":held": held},
        )
    except ConditionFailed:
        return False
    return True


def save_ping(table: Table, viewer: Viewer, *, now: Micros) -> None:
    """Record that a viewer's socket is open now."""
    try:
        table.update(
            viewer_key(viewer.group, viewer.id),
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


def _count_down(table: Table, key: dict[str, str], *, also: tuple[str, int] | None) -> Write:
    expression = "SET viewers = viewers - :one" + (f", {also[0]} = :also" if also else "")
    return table.change(
        key,
        expression,
        condition="viewers > :none",
        names={},
        values={":one": 1, ":none": 0} | ({":also": also[1]} if also else {}),
    )


def transact_with_retries(table: Table, writes: Sequence[Write]) -> None:
    """Write all or none; retry conflicts with other transactions.

    Raises TransactionCanceled if a condition fails, Unavailable if all tries conflict.
    """
    conflict: Exception | None = None
    for _ in CONFLICTS.tries():
        try:
            return transact(table.client, writes)
        except TransactionCanceled as canceled:
            if canceled.failed:
                raise
            conflict = canceled
        except TransactionConflict as conflicting:
            conflict = conflicting
    raise Unavailable from conflict


def _item(viewer: Viewer) -> Item:
    item: Item = {
        **viewer_key(viewer.group, viewer.id),
        "service": viewer.service,
        "account_id": viewer.account_id,
        "key_id": viewer.key_id,
        "digest": viewer.digest,
        "lines": viewer.backlog.lines,
        "opened_at": viewer.opened_at,
        "pinged_at": viewer.pinged_at,
        "live": viewer.live,
        "held": viewer.held,
    }
    if viewer.backlog.since is not None:
        item["since"] = viewer.backlog.since
    return item


def _from_item(item: Item) -> Viewer:
    return Viewer(
        id=item["sk"],
        group=keyspace.VIEWERS.rest_of(item["pk"]),
        service=item["service"],
        account_id=item["account_id"],
        key_id=item["key_id"],
        digest=item["digest"],
        backlog=BacklogRequest(item["lines"], item.get("since")),
        opened_at=item["opened_at"],
        pinged_at=item["pinged_at"],
        live=item["live"],
        held=item["held"],
    )


def viewer_key(group: str, connection: str) -> dict[str, str]:
    """Return the key of a viewer's item."""
    return {"pk": keyspace.VIEWERS.pk(group), "sk": connection}


def _connection_key(connection: str) -> dict[str, str]:
    return {"pk": keyspace.CONN.pk(connection), "sk": "CONN"}


def _account_key(account_id: str) -> dict[str, str]:
    return {"pk": keyspace.VIEWING.pk(account_id), "sk": "COUNT"}
