"""`ENDING#ALL` by time-sortable id: endings that took effect and whose events are to be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatehouse.audit.model import Change, Ending, Origin
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, Write

_PK = keyspace.ENDING.pk("ALL")


def put(table: Table, ending: Ending) -> Write:
    """Write the marker of an ending."""
    return table.put_new(
        {
            **_key(ending),
            "account_id": ending.account_id,
            "at": ending.at,
            "changes": [change.to_dict() for change in ending.changes],
            "origin": ending.origin.to_dict(),
            "counts": dict(ending.counts),
        }
    )


def delete(table: Table, ending: Ending) -> Write:
    """Delete the marker; the condition fails if it is gone, that is if its events are written."""
    return table.delete_if(_key(ending), condition="attribute_exists(pk)", names={}, values={})


def read_oldest(table: Table, *, limit: int) -> list[Ending]:
    """Read the markers of all accounts, oldest first."""
    items, _ = table.query(_PK, limit=limit)
    return [_from_item(item) for item in items]


def read_all(table: Table) -> Iterator[Ending]:
    """Read all markers of all accounts, consistently."""
    return (_from_item(item) for item in table.query_all(_PK))


def _from_item(item: Item) -> Ending:
    return Ending(
        id=item["sk"],
        account_id=item["account_id"],
        at=item["at"],
        changes=tuple(Change.from_dict(change) for change in item["changes"]),
        origin=Origin.from_dict(item["origin"]),
        counts=item["counts"],
    )


def _key(ending: Ending) -> dict[str, Any]:
    return {"pk": _PK, "sk": ending.id}
