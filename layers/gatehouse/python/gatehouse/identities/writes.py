"""Writes and conditions on identities, for other rooms' transactions."""

from __future__ import annotations

from gatehouse.audit.model import Change
from gatehouse.dynamo import counters
from gatehouse.dynamo.table import Table, Write
from gatehouse.identities import store
from gatehouse.identities.model import Identity

_NO_MAXIMUM = 1_000_000


def create(table: Table, identity: Identity) -> Write:
    """Write a new identity, if there is none with this id. The counter is not changed."""
    return table.put_new(store.to_item(identity))


def replace(table: Table, identity: Identity, *, seen: Identity) -> Write:
    """Write a changed identity, if its version is still the one that was read."""
    return table.put(
        store.to_item(identity),
        condition="#version = :seen",
        names={"#version": "version"},
        values={":seen": seen.version},
    )


def unchanged(table: Table, identity: Identity) -> Write:
    """Require that the identity's version is still the one that was read."""
    return table.check(
        store.item_key(identity.account_id, identity.id),
        condition="#version = :seen",
        names={"#version": "version"},
        values={":seen": identity.version},
    )


def join(table: Table, identity: Identity, *, first: bool = False) -> dict[str, Write]:
    """Return the writes that add a member, named `identity` and, for an admin, `admins`.

    `first` requires that the account never had an admin.
    """
    pk = store.partition(identity.account_id)
    writes = {"identity": create(table, identity)}
    if first:
        writes["admins"] = counters.begin(table, pk)
    elif identity.is_acting_admin:
        writes["admins"] = counters.move(table, pk, by=1, most=_NO_MAXIMUM)
    return writes


def recount(table: Table, before: Identity, after: Identity) -> dict[str, Write]:
    """Return the write `admins` that updates the counter of acting admins, if it changes.

    Its condition fails if the account would be left without an acting admin.
    """
    if before.is_acting_admin == after.is_acting_admin:
        return {}
    pk = store.partition(after.account_id)
    if after.is_acting_admin:
        return {"admins": counters.move(table, pk, by=1, most=_NO_MAXIMUM)}
    return {"admins": counters.leave_one(table, pk)}


def put_marker(table: Table, identity: Identity) -> Write:
    """Record that this version of the identity must still be written into its keys."""
    return table.put(
        {**store.marker_key(identity), "version": identity.version},
        condition="attribute_not_exists(pk) OR #version < :version",
        names={"#version": "version"},
        values={":version": identity.version},
    )


def delete_marker(table: Table, identity: Identity) -> Write:
    """Delete the marker, unless it belongs to a newer version of the identity."""
    return table.delete_if(
        store.marker_key(identity),
        condition="attribute_not_exists(pk) OR #version <= :version",
        names={"#version": "version"},
        values={":version": identity.version},
    )


def creation(identity: Identity) -> Change:
    """Return the audit event of a new identity."""
    return Change("identity.create", target(identity), after=identity.audit_view())


def target(identity: Identity) -> str:
    """Return the identity's name in audit events."""
    return f"identity:{identity.id}"
