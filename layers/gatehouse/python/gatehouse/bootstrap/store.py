"""`SEED#<account>`: which thing a file's entry became; rings and roles by id."""

from __future__ import annotations

from gatehouse.bootstrap.model import SeedName
from gatehouse.dynamo import keyspace
from gatehouse.dynamo.table import Item, Table, Write

_KINDS = {"ring": keyspace.RING, "role": keyspace.ROLE}


def known(table: Table, account_id: str) -> dict[tuple[str, str], str]:
    """Read what earlier files made: kind and name → id."""
    found = {}
    for item in table.query_all(keyspace.SEED.pk(account_id)):
        kind, _, name = item["sk"].partition("#")
        found[kind, name] = str(item["id"])
    return found


def note(table: Table, account_id: str, *, kind: str, name: str, made: str) -> Write:
    """Note what an entry became, if it did not before."""
    return table.put_new({"pk": keyspace.SEED.pk(account_id), "sk": f"{kind}#{name}", "id": made})


def note_again(
    table: Table, account_id: str, *, kind: str, name: str, made: str, before: str
) -> Write:
    """Note that an entry became another thing, after the one it was is gone."""
    return table.put(
        {"pk": keyspace.SEED.pk(account_id), "sk": f"{kind}#{name}", "id": made},
        condition="id = :before",
        names={},
        values={":before": before},
    )


def read_name(table: Table, account_id: str, *, kind: str, made: str) -> SeedName | None:
    """Read a ring or a role."""
    item = table.get(_key(account_id, kind, made))
    return None if item is None else SeedName(kind, item["name"], item["description"])


def put_name(table: Table, account_id: str, seed: SeedName, *, made: str) -> Write:
    """Write a new ring or role."""
    return table.put_new(_to_item(account_id, seed, made))


def replace_name(table: Table, account_id: str, seed: SeedName, *, made: str) -> Write:
    """Write a changed ring or role."""
    return table.put(
        _to_item(account_id, seed, made), condition="attribute_exists(pk)", names={}, values={}
    )


def _to_item(account_id: str, seed: SeedName, made: str) -> Item:
    key = _key(account_id, seed.kind, made)
    return {**key, "name": seed.name, "description": seed.description}


def _key(account_id: str, kind: str, made: str) -> dict[str, str]:
    return {"pk": _KINDS[kind].pk(account_id), "sk": made}
