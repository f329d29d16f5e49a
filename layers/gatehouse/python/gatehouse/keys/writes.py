"""The parts of a transaction that make or end a key, for this room's actions and for others'."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.audit.model import Change
from gatehouse.core import ids
from gatehouse.core.clock import Micros
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Credential, Owner
from gatehouse.dynamo.table import Tables, Write
from gatehouse.identities.model import Identity
from gatehouse.keys import rules, store
from gatehouse.keys.model import MOST_LIVE, Key, Minted, NewKey


def prepare(
    tables: Tables,
    new: NewKey,
    *,
    owner: Identity,
    created_by: str,
    operator: bool,
    now: Micros,
    enabled: bool = True,
    most: int = MOST_LIVE,
) -> tuple[Minted, dict[str, Write]]:
    """Make a key and the writes that keep it, for a transaction of the caller's."""
    fresh = credentials.mint(new.prefix)
    key = Key(
        id=ids.new(now),
        account_id=owner.account_id,
        owner=owner.id,
        name=new.name,
        prefix=fresh.shown_prefix,
        digest=fresh.digest,
        grants=new.grants,
        created_by=created_by,
        created_at=now,
        enabled=enabled,
        expires_at=new.expires_at,
        rate_limit=new.rate_limit,
        metadata=new.metadata,
    )
    looked_up = Credential(
        digest=fresh.digest,
        key_id=key.id,
        account_id=key.account_id,
        key_prefix=key.prefix,
        owner=as_owner(owner),
        grants=key.grants,
        operator=operator,
        enabled=key.enabled,
        rate_limit=key.rate_limit,
        expires_at=key.expires_at,
    )
    writes = {
        "credential": credentials.issue(tables.keys, looked_up),
        "key": store.create(tables.main, key),
        "count": store.count(tables.main, key.account_id, 1, most=most),
    }
    return Minted(key, fresh.text), writes


def as_owner(identity: Identity) -> Owner:
    """See an identity as the looked-up items of its keys carry it."""
    return Owner(
        identity.id,
        identity.is_admin,
        identity.claw_type.value,
        identity.membership.value,
        identity.version,
    )


def creation(key: Key) -> Change:
    """Name the creation of a key for the audit trail."""
    return Change("api_key.create", target(key), after=rules.audit_view(key))


def ending(tables: Tables, key: Key, *, now: Micros) -> tuple[Change, dict[str, Write]]:
    """Give the writes that end a key now, and their audit event."""
    ended = replace(key, revoked_at=now, version=key.version + 1)
    writes = {
        "ended_credential": credentials.revoke(tables.keys, key.digest, now, now=now),
        "ended_key": store.replace(tables.main, ended, seen=key),
    }
    if not rules.is_expired(key, now):
        writes["count"] = store.count(tables.main, key.account_id, -1)
    change = Change(
        "api_key.revoke",
        target(key),
        before=rules.audit_view(key),
        after=rules.audit_view(ended),
    )
    return change, writes


def target(key: Key) -> str:
    """Name a key in an audit event."""
    return f"api_key:{key.id}"
