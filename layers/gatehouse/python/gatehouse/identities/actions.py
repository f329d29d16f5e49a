"""Read identities, for handlers and for other rooms. Their writes are in `writes`."""

from __future__ import annotations

from gatehouse.core.errors import Conflict, NotFound
from gatehouse.core.maker import Makers, select
from gatehouse.dynamo.table import Table
from gatehouse.identities import rules, store
from gatehouse.identities.model import Identity, IdentityPatch, Membership


def get(table: Table, account_id: str, identity_id: str) -> Identity:
    """Read an identity consistently, or raise NotFound."""
    identity = store.read(table, account_id, identity_id)
    if identity is None:
        raise NotFound("Identity not found", code="IDENTITY_NOT_FOUND")
    return identity


def get_active(table: Table, account_id: str, identity_id: str) -> Identity:
    """Read an active identity. Raises NotFound, or Conflict if it is not active."""
    identity = get(table, account_id, identity_id)
    if identity.membership is not Membership.ACTIVE:
        raise Conflict("The owner is not an active member", code="IDENTITY_NOT_ACTIVE")
    return identity


def get_acting_admin(table: Table, account_id: str, identity_id: str) -> Identity:
    """Read an active admin. Raises NotFound, or Conflict if it is not one any more."""
    identity = get(table, account_id, identity_id)
    if not identity.is_acting_admin:
        raise Conflict("The identity is not an active admin", code="IDENTITY_NOT_ACTIVE")
    return identity


def page(
    table: Table, account_id: str, *, limit: int, after: str | None = None
) -> tuple[list[Identity], str | None]:
    """List identities in the order of creation, and the position of the next page, if any."""
    found, _ = store.page(table, account_id, after=after, limit=limit + 1)
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None


def list_all(table: Table, account_id: str) -> list[Identity]:
    """Read every identity of an account, in the order of creation."""
    return store.read_all(table, account_id)


def list_made(table: Table, account_id: str, by: Makers) -> list[Identity]:
    """List the members whom invites of some makers let in, in the order of creation."""
    return select(store.read_all(table, account_id), by)


def patched(identity: Identity, patch: IdentityPatch) -> Identity:
    """Return the identity after a patch; nothing is written. Raises BadInput."""
    return rules.patched(identity, patch)


def has_had_admins(table: Table, account_id: str) -> bool:
    """Check whether the account ever had an admin. Once it has, it always keeps one."""
    return store.count_admins(table, account_id) > 0


def has_marker(table: Table, identity: Identity) -> bool:
    """Check whether a change of the identity must still be written into its keys."""
    return store.has_marker(table, identity)


def list_marked(table: Table, *, limit: int) -> list[tuple[str, str]]:
    """List account and id of identities whose change must still be written into their keys."""
    return store.list_marked(table, limit=limit)
