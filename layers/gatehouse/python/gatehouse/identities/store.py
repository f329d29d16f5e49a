"""`IDENTITY#<account>` by id: the identity, its membership and its ceiling.

Beside them the counter of acting admins, and `PROPAGATE#ALL`: one marker for each identity whose
change must still be written into its keys.
"""

from __future__ import annotations

from gatehouse.core.grants import Grants, Permissions
from gatehouse.core.maker import Maker
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import Item, Table
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership

_MARKERS = keyspace.PROPAGATE.pk("ALL")


def read(table: Table, account_id: str, identity_id: str) -> Identity | None:
    """Read an identity consistently; None if there is none."""
    item = table.get(item_key(account_id, identity_id))
    return None if item is None else from_item(item)


def page(
    table: Table, account_id: str, *, after: str | None, limit: int
) -> tuple[list[Identity], bool]:
    """Read identities in the order of creation; True if there may be more."""
    position = None if after is None else item_key(account_id, after)
    items, more = table.query(partition(account_id), after=position, limit=limit)
    return [from_item(item) for item in items], more


def read_all(table: Table, account_id: str) -> list[Identity]:
    """Read every identity of an account consistently."""
    return [from_item(item) for item in table.query_all(partition(account_id))]


def count_admins(table: Table, account_id: str) -> int:
    """Read the counter of acting admins; zero if it was never written."""
    return counters.read(table, partition(account_id))


def has_marker(table: Table, identity: Identity) -> bool:
    """Check whether the identity has a marker."""
    return table.get(marker_key(identity)) is not None


def list_marked(table: Table, *, limit: int) -> list[tuple[str, str]]:
    """List account and id of the identities that have a marker."""
    items, _ = table.query(_MARKERS, limit=limit)
    return [(account, identity) for account, identity in (item["sk"].split("#") for item in items)]


def to_item(identity: Identity) -> Item:
    """Return the item of an identity."""
    item: Item = {
        **item_key(identity.account_id, identity.id),
        "name": identity.name,
        "type": identity.type.value,
        "is_admin": identity.is_admin,
        "claw_type": identity.claw_type.value,
        "membership": identity.membership.value,
        "created_at": identity.created_at,
        "scopes": list(identity.ceiling.scopes),
        "permissions": identity.ceiling.permissions.to_dict(),
        "version": identity.version,
        "created_by": identity.maker.created_by,
    }
    if identity.wallet_address is not None:
        item["wallet_address"] = identity.wallet_address
    if identity.maker.created_by_key is not None:
        item["created_by_key"] = identity.maker.created_by_key
    return item


def from_item(item: Item) -> Identity:
    """Return the identity that an item holds."""
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
        maker=Maker(item["created_by"], item.get("created_by_key")),
    )


def partition(account_id: str) -> str:
    """Return the partition key of an account's identities, and of their counter."""
    return keyspace.IDENTITY.pk(account_id)


def item_key(account_id: str, identity_id: str) -> dict[str, str]:
    """Return the primary key of an identity's item."""
    return {"pk": partition(account_id), "sk": identity_id}


def marker_key(identity: Identity) -> dict[str, str]:
    """Return the primary key of an identity's marker."""
    return {"pk": _MARKERS, "sk": f"{identity.account_id}#{identity.id}"}
