"""Identities, as other rooms ask for them."""

from __future__ import annotations

from gatehouse.audit.model import Change
from gatehouse.core.errors import Conflict, NotFound
from gatehouse.dynamo.table import Table, Write
from gatehouse.identities import rules, store
from gatehouse.identities.model import Identity, Membership

# What other rooms write in their own transactions.
create = store.create
replace = store.replace
unchanged = store.unchanged
mark = store.mark
unmark = store.unmark
marked = store.marked
is_marked = store.is_marked
has_had_admins = store.has_had_admins
changed = rules.changed
audit_view = rules.audit_view


def get(table: Table, account_id: str, identity_id: str) -> Identity:
    """Read an identity or raise NotFound."""
    identity = store.read(table, account_id, identity_id)
    if identity is None:
        raise NotFound("Identity not found", code="IDENTITY_NOT_FOUND")
    return identity


def get_active(table: Table, account_id: str, identity_id: str) -> Identity:
    """Read an identity that may act, or raise NotFound or Conflict."""
    identity = get(table, account_id, identity_id)
    if identity.membership is not Membership.ACTIVE:
        raise Conflict("The owner is not an active member", code="IDENTITY_NOT_ACTIVE")
    return identity


def page(
    table: Table, account_id: str, *, limit: int, after: str | None = None
) -> tuple[list[Identity], str | None]:
    """List identities in the order they were made, and where to go on, None at the end."""
    found, _ = store.page(table, account_id, after=after, limit=limit + 1)
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None


def join(table: Table, identity: Identity, *, first: bool = False) -> dict[str, Write]:
    """Give the writes of a new member. `first` demands that the account never had an admin."""
    writes = {"identity": store.create(table, identity)}
    if first:
        writes["admins"] = store.first_admin(table, identity.account_id)
    elif identity.is_acting_admin:
        writes["admins"] = store.one_admin_more(table, identity.account_id)
    return writes


def recount(table: Table, before: Identity, after: Identity) -> dict[str, Write]:
    """Give the write that keeps the tally of admins through a change; none where it stays."""
    if before.is_acting_admin == after.is_acting_admin:
        return {}
    if after.is_acting_admin:
        return {"admins": store.one_admin_more(table, after.account_id)}
    return {"admins": store.one_admin_less(table, after.account_id)}


def creation(identity: Identity) -> Change:
    """Name the creation of an identity for the audit trail."""
    return Change("identity.create", f"identity:{identity.id}", after=rules.audit_view(identity))
