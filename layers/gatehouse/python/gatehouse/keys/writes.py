"""The writes that create or revoke a key, for this room's transactions and for other rooms'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gatehouse.audit.model import Change
from gatehouse.core import ids
from gatehouse.core.clock import Micros
from gatehouse.core.request import Call
from gatehouse.credentials import writes as credentials
from gatehouse.credentials.model import Credential, Owner
from gatehouse.dynamo.table import Table, Tables, Write
from gatehouse.identities.model import Identity
from gatehouse.keys import family_rules, rules, store
from gatehouse.keys.model import MOST_LIVE, Key, Lineage, Minted, NewKey, Succession


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
    """Make a key and return it with the writes that create it.

    They are `credential`, `key`, `count` and, if it has a parent, `unrevoked`.
    `most` is the number of live keys at which the condition of `count` fails.
    """
    succession = new.succeeds or Succession()
    minted = credentials.mint(new.prefix)
    key = Key(
        id=ids.new(now),
        account_id=owner.account_id,
        owner=owner.id,
        name=new.name,
        prefix=minted.shown_prefix,
        digest=minted.digest,
        grants=new.grants,
        created_by=created_by,
        created_at=now,
        enabled=enabled,
        expires_at=new.expires_at,
        rate_limit=new.rate_limit,
        metadata=new.metadata,
        place=_below(tables, owner.account_id, new.parent),
        wallet=new.wallet,
        predecessor=succession.key_id,
    )
    credential = Credential(
        digest=minted.digest,
        key_id=key.id,
        account_id=key.account_id,
        key_prefix=key.prefix,
        owner=as_owner(owner),
        grants=key.grants,
        operator=operator,
        enabled=key.enabled,
        rate_limit=key.rate_limit,
        expires_at=key.expires_at,
        tat=succession.tat,
        predecessor=succession.digest,
        predecessor_until=succession.until,
    )
    writes = {
        "credential": credentials.create(tables.keys, credential),
        **store.create(tables.main, key),
        "count": store.count(tables.main, key.account_id, 1, most=most),
    }
    return Minted(key, minted.text), writes


def as_owner(identity: Identity) -> Owner:
    """Return an identity as the looked-up items of its keys hold it."""
    return Owner(
        identity.id,
        identity.is_admin,
        identity.claw_type.value,
        identity.membership.value,
        identity.version,
    )


def creation(key: Key) -> Change:
    """Return the audit event of a new key."""
    return Change("api_key.create", target(key), after=rules.audit_view(key))


def revocation(
    tables: Tables,
    key: Key,
    *,
    now: Micros,
    in_rotation: bool = False,
    together: Sequence[Key] = (),
) -> tuple[Change, dict[str, Write]]:
    """Return the audit event of revoking a key now, and the writes that do it.

    They are `revoked_credential`, `revoked_key`, `unrevoked` for a key that has a parent and, for a
    key in the grace of a rotation, `revoked_successor`. The counter of live keys is the caller's to
    move: see `counted`.
    `in_rotation`: the transaction rotates another key of the line, and so ends all but two of them.
    `together` are keys that the same transaction revokes.
    """
    revoked = replace(key, revoked_at=now, ended=True, version=key.version + 1)
    ids_together = {other.id for other in together}
    with_predecessor = in_rotation or key.predecessor in ids_together
    writes = {
        "revoked_credential": credentials.revoke(
            tables.keys, key.digest, now, with_predecessor=with_predecessor
        ),
        "revoked_key": store.replace(tables.main, revoked, seen=key),
        **store.end_unrevoked(tables.main, key, at=now, now=now),
    }
    if not in_rotation and key.successor not in ids_together:
        writes |= forget_predecessor_writes(tables, key, name="revoked_successor")
    change = Change(
        "api_key.revoke",
        target(key),
        before=rules.audit_view(key),
        after=rules.audit_view(revoked),
    )
    return change, writes


def check_caller(table: Table, call: Call) -> dict[str, Write]:
    """Return the write `caller`, which fails if the calling key is revoked.

    It belongs into each transaction that lets somebody do more afterwards than before. Otherwise a
    request that was admitted before its key was revoked could leave something behind.
    """
    key = call.caller
    check = store.check_unrevoked(table, key.account_id, key.key_id, now=call.now)
    return {"caller": check}


def counted(key: Key, now: Micros) -> dict[str, int]:
    """Return what the counter of live keys loses when the key ends: the counter and how many."""
    return {} if rules.is_expired(key, now) else {store.counter(key.account_id): 1}


def count(table: Table, account_id: str, *, made: int) -> dict[str, Write]:
    """Return the write `count` of a transaction that makes more live keys than it ends, or fewer.

    Its condition fails if the account would have too many. No write if the number stays as it is.
    """
    return {"count": store.count(table, account_id, made)} if made else {}


def forget_predecessor_writes(
    tables: Tables, key: Key, *, name: str = "successor"
) -> dict[str, Write]:
    """Return the write that a change of a key in the grace of a rotation needs beside its own.

    Authorizers admit such a key by its successor's item, without reading its own. From now on they
    read it, so only a change that they must see needs this write.
    """
    successor = store.read(tables.main, key.account_id, key.successor) if key.successor else None
    if successor is None:
        return {}
    return {name: credentials.forget_predecessor(tables.keys, successor.digest)}


def _below(tables: Tables, account_id: str, parent_id: str | None) -> Lineage:
    """Return the place of a new key; reads its parent and, deep in a family, one ancestor more."""
    if parent_id is None:
        return Lineage()
    parent = store.read(tables.main, account_id, parent_id)
    place = Lineage() if parent is None else parent.place
    jumped = None
    if place.jump is not None and family_rules.needs_jump(place):
        jumped = store.read(tables.main, account_id, place.jump)
    return family_rules.below(parent_id, place, jumped=jumped.place if jumped else None)


def target(key: Key) -> str:
    """Return the key's name in audit events."""
    return f"api_key:{key.id}"
