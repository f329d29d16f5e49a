"""Carry what changed in an identity into its keys."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.grants import Grants
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import Identity
from gatehouse.keys import rules, store
from gatehouse.keys.model import Key
from gatehouse.keys.writes import as_owner


def follow(tables: Tables, owner: Identity, *, origin: Origin, now: Micros) -> None:
    """Carry an identity's state into each of its keys, cutting their grants to its ceiling.

    Conditional on the identity's version, so that it may be done again, or late, or by two at
    once. A key that would have nothing left of a permission list is switched off instead.
    """
    for key in store.of_owner(tables.main, owner.account_id, owner.id):
        if rules.is_revoked(key, now):
            continue
        cut = key.grants.cut_to(owner.ceiling)
        if cut == key.grants:
            # A plain update: a transaction would be in the way of the key's own requests.
            credentials.follow(tables.keys, key.digest, owner=as_owner(owner))
        else:
            _cut(tables, owner, key, cut, origin=origin, now=now)


def _cut(
    tables: Tables,
    owner: Identity,
    key: Key,
    cut: Grants | None,
    *,
    origin: Origin,
    now: Micros,
) -> None:
    kept = replace(
        key,
        grants=cut or key.grants,
        enabled=key.enabled and cut is not None,
        version=key.version + 1,
    )
    writes = {
        "credential": credentials.cut(
            tables.keys,
            key.digest,
            owner=as_owner(owner),
            grants=kept.grants,
            enabled=kept.enabled,
        ),
        "key": store.replace(tables.main, kept, seen=key),
    }
    change = Change(
        "api_key.update",
        f"api_key:{key.id}",
        before=rules.audit_view(key),
        after=rules.audit_view(kept),
    )
    try:
        audit.commit(
            tables.main, key.account_id, writes=writes, changes=[change], origin=origin, now=now
        )
    except audit.Refused as refused:
        if "credential" not in refused.failed:
            # The key was changed meanwhile: the next sweep looks at it again.
            raise Unavailable from refused
