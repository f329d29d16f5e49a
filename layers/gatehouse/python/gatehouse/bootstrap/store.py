"""`SEED#<account>`: the id of what each entry of a file created. Rings and roles, by id."""

from __future__ import annotations

from gatehouse.bootstrap.model import SeedName
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, Write

_KINDS = {"ring": keyspace.RING, "role": keyspace.ROLE}


def list_created(table: Table, account_id: str) -> dict[tuple[str, str], str]:
    """Return what earlier files created: kind and name of the entry → id."""
    created = {}
    for item in table.query_all(keyspace.SEED.pk(account_id)):
        kind, _, name = item["sk"].partition("#")
        created[kind, name] = str(item["id"])
    return created


def record(
    table: Table, account_id: str, *, kind: str, name: str, created: str, replaced: str | None
) -> Write:
    """Record the id of what an entry created, if the record is still `replaced` or not there."""
    item: Item = {"pk": keyspace.SEED.pk(account_id), "sk": f"{kind}#{name}", "id": created}
    if replaced is None:
        return table.put_new(item)
    return table.put(item, condition="id = :replaced", names={}, values={":replaced": replaced})


def read_name(table: Table, account_id: str, *, kind: str, thing_id: str) -> SeedName | None:
    """Read a ring or a role; None where there is none."""
    item = table.get(_key(account_id, kind, thing_id))
    return None if item is None else SeedName(kind, item["name"], item["description"])


def put_name(table: Table, account_id: str, seed: SeedName, *, thing_id: str) -> Write:
    """Write a new ring or role."""
    return table.put_new(_to_item(account_id, seed, thing_id))


def replace_name(table: Table, account_id: str, seed: SeedName, *, thing_id: str) -> Write:
    """Write a changed ring or role."""
    return table.put(
        _to_item(account_id, seed, thing_id), condition="attribute_exists(pk)", names={}, values={}
    )


def _to_item(account_id: str, seed: SeedName, thing_id: str) -> Item:
    key = _key(account_id, seed.kind, thing_id)
    return {**key, "name": seed.name, "description": seed.description}


def _key(account_id: str, kind: str, thing_id: str) -> dict[str, str]:
    return {"pk": _KINDS[kind].pk(account_id), "sk": thing_id}
