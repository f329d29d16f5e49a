"""`IDENTITY#<account>` by id: the identity, its membership and its ceiling.

Beside them the tally of admins who may act, and `PROPAGATE#ALL`, which lists the identities whose
keys have yet to learn of a change.
"""

from __future__ import annotations

from gatehouse.core.grants import Grants, Permissions
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Item, Table, Write
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership

_UNBOUNDED = 1_000_000
_PROPAGATE = keyspace.PROPAGATE.pk("ALL")


def read(table: Table, account_id: str, identity_id: str) -> Identity | None:
    """Read an identity, consistently."""
    item = table.get(_key(account_id, identity_id))
    return None if item is None else _from_item(item)


def page(
    table: Table, account_id: str, *, after: str | None, limit: int
) -> tuple[list[Identity], bool]:
    """Read identities in the order they were made; True: there may be more."""
    position = None if after is None else _key(account_id, after)
    items, more = table.query(keyspace.IDENTITY.pk(account_id), after=position, limit=limit)
    return [_from_item(item) for item in items], more


def create(table: Table, identity: Identity) -> Write:
    """Write a new identity."""
    return table.put_new(_to_item(identity))


def replace(table: Table, identity: Identity, *, seen: Identity) -> Write:
    """Write a changed identity, if it still stands as it was read."""
    return table.put(
        _to_item(identity),
        condition="#version = :seen",
        names={"#version": "version"},
        values={":seen": seen.version},
    )


def unchanged(table: Table, identity: Identity) -> Write:
    """Demand that the identity still stands as it was read."""
    return table.check(
        _key(identity.account_id, identity.id),
        condition="#version = :seen",
        names={"#version": "version"},
        values={":seen": identity.version},
    )


def first_admin(table: Table, account_id: str) -> Write:
    """Count the account's first admin, if it never had one."""
    return counters.begin(table, keyspace.IDENTITY.pk(account_id))


def one_admin_more(table: Table, account_id: str) -> Write:
    """Count another admin who may act."""
    return counters.move(table, keyspace.IDENTITY.pk(account_id), by=1, most=_UNBOUNDED)


def one_admin_less(table: Table, account_id: str) -> Write:
    """Count one admin less, unless it is the last."""
    return counters.leave_one(table, keyspace.IDENTITY.pk(account_id))


def has_had_admins(table: Table, account_id: str) -> bool:
    """Tell whether the account ever had an admin; one always stays."""
    return counters.read(table, keyspace.IDENTITY.pk(account_id)) > 0


def mark(table: Table, identity: Identity) -> Write:
    """Note that the identity's keys have yet to learn of its change."""
    return table.put(
        {
            "pk": _PROPAGATE,
            "sk": f"{identity.account_id}#{identity.id}",
            "version": identity.version,
        },
        condition="attribute_not_exists(pk) OR #version < :version",
        names={"#version": "version"},
        values={":version": identity.version},
    )


def unmark(table: Table, identity: Identity) -> Write:
    """Take the note away, if it is about this very change."""
    return table.delete_if(
        {"pk": _PROPAGATE, "sk": f"{identity.account_id}#{identity.id}"},
        condition="attribute_not_exists(pk) OR #version <= :version",
        names={"#version": "version"},
        values={":version": identity.version},
    )


def is_marked(table: Table, identity: Identity) -> bool:
    """Tell whether the identity's keys have yet to learn of a change."""
    return table.get({"pk": _PROPAGATE, "sk": f"{identity.account_id}#{identity.id}"}) is not None


def marked(table: Table, *, limit: int) -> list[tuple[str, str]]:
    """List account and id of identities whose keys have yet to learn of a change."""
    items, _ = table.query(_PROPAGATE, limit=limit)
    return [(account, identity) for account, identity in (item["sk"].split("#") for item in items)]


def _to_item(identity: Identity) -> Item:
    item: Item = {
        **_key(identity.account_id, identity.id),
        "name": identity.name,
        "type": identity.type.value,
        "is_admin": identity.is_admin,
        "claw_type": identity.claw_type.value,
        "membership": identity.membership.value,
        "created_at": identity.created_at,
        "scopes": list(identity.ceiling.scopes),
        "permissions": identity.ceiling.permissions.to_dict(),
        "version": identity.version,
    }
    if identity.wallet_address is not None:
        item["wallet_address"] = identity.wallet_address
    return item


def _from_item(item: Item) -> Identity:
    return Identity(
        id=item["sk"],
        account_id=keyspace.IDENTITY.rest_of(item["pk"]),
        name=item["name"],
        type=IdentityType(item["type"]),
        is_admin=item["is_admin"],
        claw_type=ClawType(item["claw_type"]),
        membership=Membership(item["membership"]),
        created_at=item["created_at"],
        ceiling=Grants(tuple(item["scopes"]), Permissions.from_dict(item["permissions"])),
        version=item["version"],
        wallet_address=item.get("wallet_address"),
    )


def _key(account_id: str, identity_id: str) -> dict[str, str]:
    return {"pk": keyspace.IDENTITY.pk(account_id), "sk": identity_id}
