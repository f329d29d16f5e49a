"""`ENDING#<account>` by time-sortable id: endings that took effect without their events yet.

`ENDING#WAITING` by account id: the accounts that may have such endings. An entry is written before
an ending takes effect, outside its transaction, so that no two endings of an account conflict.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gatehouse.audit.model import Change, Ending, Origin
from gatehouse.core.clock import MINUTE, Micros
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

_WAITING = keyspace.ENDING.pk("WAITING")
# How old an entry is before the next ending of the account writes it again.
_RENEWED_AFTER = 5 * MINUTE
# How old an entry is before it may go. No function runs for so long after it read the entry.
_KEPT = 30 * MINUTE


def announce(table: Table, account_id: str, *, now: Micros) -> None:
    """Have the account swept for endings that take effect in the next minutes.

    Raises TransactionConflict while the entry is forgotten, Unavailable.
    """
    key = {"pk": _WAITING, "sk": account_id}
    entry = table.get(key)
    if entry is not None and entry["at"] > now - _RENEWED_AFTER:
        return
    with suppress(ConditionFailed):  # another request just renewed it
        table.update(
            key,
            "SET #at = :now",
            condition="attribute_not_exists(#at) OR #at < :now",
            names={"#at": "at"},
            values={":now": now},
        )


def put(table: Table, ending: Ending) -> Write:
    """Write the marker of an ending."""
    return table.put_new(
        {
            **_key(ending),
            "at": ending.at,
            "changes": [change.to_dict() for change in ending.changes],
            "origin": ending.origin.to_dict(),
            "counts": dict(ending.counts),
        }
    )


def delete(table: Table, ending: Ending) -> Write:
    """Delete the marker; the condition fails if it is gone, that is if its events are written."""
    return table.delete_if(_key(ending), condition="attribute_exists(pk)", names={}, values={})


def read_waiting(table: Table) -> dict[str, Micros]:
    """Read the ids of accounts that may have endings, each with the time of its entry."""
    return {item["sk"]: item["at"] for item in table.query_all(_WAITING)}


def forget(table: Table, account_id: str, *, at: Micros, now: Micros) -> None:
    """Delete an account's entry, found without endings, if it is old and was not renewed."""
    if at > now - _KEPT:
        return
    entry = table.delete_if(
        {"pk": _WAITING, "sk": account_id},
        condition="#at = :at",
        names={"#at": "at"},
        values={":at": at},
    )
    with suppress(TransactionCanceled, TransactionConflict):
        transact(table.client, [entry])


def read_oldest(table: Table, account_id: str, *, limit: int) -> tuple[list[Ending], bool]:
    """Read an account's markers, oldest first; True if there may be more."""
    items, more = table.query(keyspace.ENDING.pk(account_id), limit=limit)
    return [_from_item(item) for item in items], more


def read_all(table: Table, account_id: str) -> Iterator[Ending]:
    """Read all markers of an account, consistently."""
    return (_from_item(item) for item in table.query_all(keyspace.ENDING.pk(account_id)))


def _from_item(item: Item) -> Ending:
    return Ending(
        id=item["sk"],
        account_id=keyspace.ENDING.rest_of(item["pk"]),
        at=item["at"],
        changes=tuple(Change.from_dict(change) for change in item["changes"]),
        origin=Origin.from_dict(item["origin"]),
        counts=item["counts"],
    )


def _key(ending: Ending) -> dict[str, Any]:
    return {"pk": keyspace.ENDING.pk(ending.account_id), "sk": ending.id}
