"""Copy a changed identity into its keys."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.grants import Grants
from gatehouse.credentials import actions as credentials
from gatehouse.credentials import writes as credential_writes
from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import Identity
from gatehouse.keys import rules, store
from gatehouse.keys.model import Key
from gatehouse.keys.writes import as_owner, forget_predecessor_writes, target


def propagate(tables: Tables, owner: Identity, *, origin: Origin, now: Micros) -> None:
    """Copy an identity into each of its keys, and narrow their grants to its ceiling.

    Every write has a condition on the identity's version, so this may run again, late, or twice
    at once. A key of which a permission list would become empty is disabled instead, because an
    empty list means everything.
    """
    keys = store.read_all_of_owner(tables.main, owner.account_id, owner.id)
    # A key in the grace of a rotation is judged by its successor's item, even a revoked one's.
    needed = {key.successor for key in keys if not rules.is_revoked(key, now)}
    for key in keys:
        if rules.is_revoked(key, now):
            if key.id in needed:
                credentials.update_owner(tables.keys, key.digest, owner=as_owner(owner))
            continue
        narrowed = key.grants.cut_to(owner.ceiling)
        if narrowed == key.grants:
            # A plain update: a transaction would make the key's own requests fail with conflicts.
            credentials.update_owner(tables.keys, key.digest, owner=as_owner(owner))
        else:
            _narrow(tables, owner, key, narrowed, origin=origin, now=now)


def _narrow(
    tables: Tables,
    owner: Identity,
    key: Key,
    grants: Grants | None,
    *,
    origin: Origin,
    now: Micros,
) -> None:
    after = replace(
        key,
        grants=grants or key.grants,
        enabled=key.enabled and grants is not None,
        version=key.version + 1,
    )
    writes = {
        "credential": credential_writes.narrow(
            tables.keys,
            key.digest,
            owner=as_owner(owner),
            grants=after.grants,
            enabled=after.enabled,
        ),
        "key": store.replace(tables.main, after, seen=key),
        **forget_predecessor_writes(tables, key),
    }
    change = Change(
        "api_key.update",
        target(key),
        before=rules.audit_view(key),
        after=rules.audit_view(after),
    )
    try:
        endings.end(
            tables.main, key.account_id, writes=writes, changes=[change], origin=origin, now=now
        )
    except audit.Refused as refused:
        if "credential" not in refused.failed:
            # Another request changed the key since it was read: the sweeper tries again.
            raise Unavailable from refused
