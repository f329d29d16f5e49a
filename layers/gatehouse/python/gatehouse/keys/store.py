"""`KEYS#<account>` by id: a key as its account manages it; index `by_owner` by identity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatehouse.core import exact_json
from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.core.grants import Grants, Permissions
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.keys.model import MOST_LIVE, Key, Lineage

_LINE = ("predecessor", "successor")
# A request that began in the grace of a rotation is over this long after the grace.
_LONGEST_REQUEST = MINUTE


def read(table: Table, account_id: str, key_id: str) -> Key | None:
    """Read a key consistently; None if the account has none with this id."""
    item = table.get(_key(account_id, key_id))
    return None if item is None else from_item(item)


def page(
    table: Table,
    account_id: str,
    *,
    owner: str | None,
    after: str | None,
    newest_first: bool,
    limit: int,
) -> tuple[list[Key], bool]:
    """Read keys in the order of creation; True if there may be more.

    With `owner` an index is read, which is eventually consistent.
    """
    position: Item | None = None
    if owner is None:
        if after is not None:
            position = _key(account_id, after)
        items, more = table.query(
            keyspace.KEYS.pk(account_id), after=position, newest_first=newest_first, limit=limit
        )
    else:
        if after is not None:
            position = _key(account_id, after) | {"owner_pk": _owner(account_id, owner)}
        items, more = table.query(
            _owner(account_id, owner),
            after=position,
            newest_first=newest_first,
            limit=limit,
            index="by_owner",
            pk_name="owner_pk",
        )
    return [from_item(item) for item in items], more


def read_all(table: Table, account_id: str) -> list[Key]:
    """Read every key of an account consistently, revoked ones included."""
    return [from_item(item) for item in table.query_all(keyspace.KEYS.pk(account_id))]


def read_many(table: Table, account_id: str, key_ids: Iterable[str]) -> list[Key]:
    """Read keys by id, consistently, in no order; unknown ones are left out."""
    return [from_item(item) for item in table.batch_get([_key(account_id, one) for one in key_ids])]


def page_unrevoked(
    table: Table, account_id: str, *, before: str | None, limit: int
) -> tuple[dict[str, Lineage], bool]:
    """Read the places of unrevoked keys that a key made, consistently, newest first.

    By id, those below `before`; True if there may be more. Expired keys are among them, and some
    whose grace has ended.
    """
    items, more = table.query(
        keyspace.UNREVOKED.pk(account_id), below=before, newest_first=True, limit=limit
    )
    return {item["sk"]: _place(item) for item in items}, more


def create(table: Table, key: Key) -> dict[str, Write]:
    """Write a new key, if there is none with this id, also to the unrevoked ones of a family."""
    writes = {"key": table.put_new(to_item(key))}
    if key.parent is not None:
        writes["unrevoked"] = table.put_new(_unrevoked(key))
    return writes


def end_unrevoked(table: Table, key: Key, *, at: Micros, now: Micros) -> dict[str, Write]:
    """Take a key off the unrevoked ones of its family: now, or at the end of its grace."""
    if key.parent is None:
        return {}
    item = _unrevoked(key)
    if at > now:
        return {"unrevoked": table.overwrite(item | {"ttl": (at + _LONGEST_REQUEST) // SECOND + 1})}
    return {"unrevoked": table.delete({"pk": item["pk"], "sk": item["sk"]})}


def check_unrevoked(table: Table, account_id: str, key_id: str, *, now: Micros) -> Write:
    """Require that a key is not revoked. `now` only decides about the end of a grace."""
    return table.check(
        _key(account_id, key_id),
        condition="attribute_exists(pk) AND attribute_not_exists(ended)"
        " AND (attribute_not_exists(revoked_at) OR revoked_at > :now)",
        names={},
        values={":now": now},
    )


def end_grace(table: Table, key: Key) -> None:
    """Mark a key as ended whose grace is over, so that no request of its grace creates a key.

    Raises ConditionFailed if the key does not exist, TransactionConflict, Unavailable.
    """
    table.update(
        _key(key.account_id, key.id),
        "SET ended = :true, #version = #version + :one",
        condition="attribute_exists(pk)",
        names={"#version": "version"},
        values={":true": True, ":one": 1},
    )


def replace(table: Table, key: Key, *, seen: Key) -> Write:
    """Write a changed key, if its version is still the one that was read."""
    return table.put(
        to_item(key),
        condition="#version = :seen",
        names={"#version": "version"},
        values={":seen": seen.version},
    )


def count(table: Table, account_id: str, by: int, *, most: int = MOST_LIVE) -> Write:
    """Add `by` to the counter of live keys. Adding fails at `most`."""
    return counters.move(table, keyspace.KEYS.pk(account_id), by=by, most=most)


def counter(account_id: str) -> str:
    """Return the partition key that names the counter of live keys."""
    return keyspace.KEYS.pk(account_id)


def correct_count(table: Table, account_id: str, *, seen: Item, to: int) -> None:
    """Set the counter of live keys. Raises ConditionFailed if it changed since it was read."""
    counters.correct(table, keyspace.KEYS.pk(account_id), seen=seen, to=to)


def read_all_of_owner(table: Table, account_id: str, owner: str) -> list[Key]:
    """Read every key of an identity consistently.

    From the base table: the index may not have a new key yet.
    """
    return [
        from_item(item)
        for item in table.query_all(keyspace.KEYS.pk(account_id))
        if item["owner"] == owner
    ]


def to_item(key: Key) -> Item:
    """Return the item of a key. Metadata is stored as JSON text, since it may contain fractions."""
    item: dict[str, Any] = {
        **_key(key.account_id, key.id),
        "owner_pk": _owner(key.account_id, key.owner),
        "owner": key.owner,
        "name": key.name,
        "prefix": key.prefix,
        "digest": key.digest,
        "scopes": list(key.grants.scopes),
        "permissions": key.grants.permissions.to_dict(),
        "created_by": key.created_by,
        "created_at": key.created_at,
        "enabled": key.enabled,
        "metadata": exact_json.dumps(key.metadata),
        "version": key.version,
        **_place_attributes(key.place),
    }
    for name in ("expires_at", "rate_limit", "revoked_at", "wallet", *_LINE):
        value = getattr(key, name)
        if value is not None:
            item[name] = value
    if key.ended:
        item["ended"] = True
    return item


def from_item(item: Item) -> Key:
    """Return the key that an item holds."""
    return Key(
        id=item["sk"],
        account_id=keyspace.KEYS.rest_of(item["pk"]),
        owner=item["owner"],
        name=item["name"],
        prefix=item["prefix"],
        digest=item["digest"],
        grants=Grants(tuple(item["scopes"]), Permissions.from_dict(item["permissions"])),
        created_by=item["created_by"],
        created_at=item["created_at"],
        enabled=item["enabled"],
        expires_at=item.get("expires_at"),
        rate_limit=item.get("rate_limit"),
        revoked_at=item.get("revoked_at"),
        ended=item.get("ended", False),
        metadata=exact_json.loads(item["metadata"]),
        version=item["version"],
        place=_place(item),
        predecessor=item.get("predecessor"),
        successor=item.get("successor"),
        wallet=item.get("wallet"),
    )


def _key(account_id: str, key_id: str) -> dict[str, str]:
    return {"pk": keyspace.KEYS.pk(account_id), "sk": key_id}


def _unrevoked(key: Key) -> Item:
    pk = keyspace.UNREVOKED.pk(key.account_id)
    return {"pk": pk, "sk": key.id, **_place_attributes(key.place)}


def _place_attributes(place: Lineage) -> dict[str, Any]:
    if place.parent is None:
        return {}
    return {
        "parent": place.parent,
        "depth": place.depth,
        "jump": place.jump,
        "jump_depth": place.jump_depth,
    }


def _place(item: Item) -> Lineage:
    if "parent" not in item:
        return Lineage()
    return Lineage(item["parent"], item["depth"], item["jump"], item["jump_depth"])


def _owner(account_id: str, identity_id: str) -> str:
    return keyspace.OWNER.pk(account_id, identity_id)
