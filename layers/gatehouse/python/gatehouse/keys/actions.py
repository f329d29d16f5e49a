"""Make, list, change and end keys.

Every write is one transaction of both items of the key, its audit event, the moved head of the
chain and, where there is one, the Idempotency-Key. A key that changed while it was looked at is
looked at again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core import settings
from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import BoundReached, Conflict, NotFound, Unavailable
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import ConditionFailed, Item, Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.keys import rules, store
from gatehouse.keys.model import MOST_LIVE, Key, Listed, Minted, NewKey, Wish
from gatehouse.keys.writes import creation, ending, prepare, target

# What other rooms and the handlers ask.
status = rules.status
default_rate_limit = rules.default_rate_limit
check_minting = rules.check_minting
checked_grants = rules.grants_of
checked_name = rules.name_of

Done = TypeVar("Done")

_TRIES = 4
_LOOKED_THROUGH = 1_000


def create(tables: Tables, call: Call, wish: Wish) -> Minted:
    """Make a key for the caller's identity, or for the owner named, and show it once."""
    idempotency.check(tables.main, call.guard)
    caller = call.caller
    new = rules.new_key(
        wish, caller=caller, default_limit=settings.DEFAULT_RATE_LIMIT.number(), now=call.now
    )
    rules.check_minting(
        new.grants, expires_at=new.expires_at, rate_limit=new.rate_limit, caller=caller
    )

    def attempt() -> Minted:
        owner = identities.get_active(
            tables.main, caller.account_id, new.owner or caller.identity_id
        )
        rules.check_ceiling(new.grants, owner.ceiling)
        minted, writes = prepare(
            tables,
            new,
            owner=owner,
            created_by=caller.identity_id,
            operator=caller.operator,
            now=call.now,
        )
        writes["owner"] = identities.unchanged(tables.main, owner)
        _commit(tables, call, writes, creation(minted.key), made=minted.key.id)
        return minted

    return _persist(tables, call, attempt)


def page(
    tables: Tables,
    call: Call,
    which: Listed,
    *,
    limit: int,
    after: str | None = None,
    newest_first: bool = True,
) -> tuple[list[Key], str | None]:
    """List what the caller may see, and where to go on, None at the end.

    A bounded number of keys is looked through per call, so a page may hold fewer than `limit`
    and still have more behind it.
    """
    caller = call.caller
    owner = None if caller.is_admin else caller.identity_id
    found: list[Key] = []
    looked, more = 0, True
    while more and looked < _LOOKED_THROUGH:
        keys, more = store.page(
            tables.main,
            caller.account_id,
            owner=owner,
            after=after,
            newest_first=newest_first,
            limit=limit + 1,
        )
        for key in keys:
            looked += 1
            if rules.is_listed(key, which, call.now):
                if len(found) == limit:
                    return _with_uses(tables, found), found[-1].id
                found.append(key)
            after = key.id
    return _with_uses(tables, found), after if more else None


def get(tables: Tables, call: Call, key_id: str) -> Key:
    """Read a key that the caller may see and that is not over, or raise NotFound."""
    key = store.read(tables.main, call.caller.account_id, key_id)
    if key is None or not rules.may_see(key, call.caller) or rules.is_revoked(key, call.now):
        raise NotFound("API key not found", code="API_KEY_NOT_FOUND")
    return key


def recorded(tables: Tables, account_id: str, key_id: str) -> Key | None:
    """Read a key whatever its state and whoever asks, for rooms that judge that themselves."""
    return store.read(tables.main, account_id, key_id)


def own(tables: Tables, call: Call) -> Key:
    """Read the key that the caller is calling with."""
    return get(tables, call, call.caller.key_id)


def revoke(tables: Tables, call: Call, key_id: str) -> Key:
    """End a key: the very next request with it is refused."""

    def attempt() -> Key:
        key = get(tables, call, key_id)
        _check_reach(key, call)
        change, writes = ending(tables, key, now=call.now)
        _commit(tables, call, writes, change)
        return replace(key, revoked_at=call.now)

    return _persist(tables, call, attempt)


def rotate(tables: Tables, call: Call, key_id: str, *, grace_seconds: int, prefix: str) -> Minted:
    """Make a successor with the same owner and grants; the old key lives on for the grace.

    Raises Conflict for an expired key: it may be extended first.
    """
    idempotency.check(tables.main, call.guard)
    grace = rules.grace_of(grace_seconds)

    def attempt() -> Minted:
        old = get(tables, call, key_id)
        if rules.is_expired(old, call.now):
            raise Conflict("API key has expired", code="API_KEY_EXPIRED")
        _check_reach(old, call)
        owner = identities.get_active(tables.main, old.account_id, old.owner)
        rules.check_ceiling(old.grants, owner.ceiling)
        revoked_at = rules.end_of_grace(old, grace, call.now)
        ended = replace(old, revoked_at=revoked_at, version=old.version + 1)
        new = NewKey(
            old.name, prefix, old.grants, old.expires_at, old.rate_limit, metadata=old.metadata
        )
        minted, writes = prepare(
            tables,
            new,
            owner=owner,
            created_by=call.caller.identity_id,
            operator=call.caller.operator,
            now=call.now,
            enabled=old.enabled,
        )
        if grace == 0:
            del writes["count"]  # one ends as the other begins
        writes["old_credential"] = credentials.revoke(
            tables.keys, old.digest, revoked_at, now=call.now
        )
        writes["old_key"] = store.replace(tables.main, ended, seen=old)
        writes["owner"] = identities.unchanged(tables.main, owner)
        change = Change(
            "api_key.rotate",
            target(old),
            before=rules.audit_view(old),
            after=rules.audit_view(minted.key)
            | {"successor": target(minted.key), "old_revoked_at": rfc3339(revoked_at)},
        )
        _commit(tables, call, writes, change, made=minted.key.id)
        return minted

    return _persist(tables, call, attempt)


def patch(tables: Tables, call: Call, key_id: str, fields: Mapping[str, Any]) -> Key:
    """Change a key. What it was and what it becomes must both lie within the caller's reach.

    `fields` holds what the request brought: name, enabled, expires_at (a moment or None),
    rate_limit (or None), metadata.
    """
    changes = rules.changes_of(fields, now=call.now)

    def attempt() -> Key:
        key = get(tables, call, key_id)
        _check_reach(key, call)
        changed = replace(key, **changes, version=key.version + 1)
        _check_reach(changed, call)
        writes = {
            "credential": credentials.amend(
                tables.keys,
                key.digest,
                enabled=changed.enabled,
                expires_at=changed.expires_at,
                rate_limit=changed.rate_limit,
            ),
            "key": store.replace(tables.main, changed, seen=key),
        }
        if changed.enabled and not key.enabled:
            # It may have been switched off because the owner's ceiling left nothing of it.
            owner = identities.get(tables.main, key.account_id, key.owner)
            rules.check_ceiling(changed.grants, owner.ceiling)
            writes["owner"] = identities.unchanged(tables.main, owner)
        if rules.is_expired(key, call.now) and not rules.is_expired(changed, call.now):
            writes["count"] = store.count(tables.main, key.account_id, 1)
        change = Change(
            "api_key.update",
            target(key),
            before=rules.audit_view(key),
            after=rules.audit_view(changed),
        )
        _commit(tables, call, writes, change)
        return changed

    return _persist(tables, call, attempt)


def _check_reach(key: Key, call: Call) -> None:
    rules.check_minting(
        key.grants, expires_at=key.expires_at, rate_limit=key.rate_limit, caller=call.caller
    )


def _commit(
    tables: Tables,
    call: Call,
    writes: Mapping[str, Write],
    change: Change,
    *,
    made: str | None = None,
) -> None:
    claim = audit.Claim(call.guard, made) if call.guard and made else None
    audit.commit(
        tables.main,
        call.caller.account_id,
        writes=writes,
        changes=[change],
        origin=Origin.of(call),
        now=call.now,
        claim=claim,
    )


def _persist(tables: Tables, call: Call, attempt: Callable[[], Done]) -> Done:
    """Try again what was refused because something changed between reading and writing."""
    for _ in range(_TRIES):
        try:
            return attempt()
        except audit.Refused as refused:
            full = refused.failed.get("count")
            if full is not None:
                make_room(tables, call.caller.account_id, seen=full, now=call.now)
    raise Unavailable


def make_room(tables: Tables, account_id: str, *, seen: Item, now: Micros) -> None:
    """Count again at the bound, since keys expire uncounted; BoundReached when all are live."""
    keys = store.all_of(tables.main, account_id)
    live = sum(rules.is_listed(key, Listed.ACTIVE, now) for key in keys)
    if live >= MOST_LIVE:
        raise BoundReached(f"An account has at most {MOST_LIVE} live API keys")
    # Who was faster corrected it too, or made a key: the next attempt tells.
    with contextlib.suppress(ConditionFailed):
        store.correct_count(tables.main, account_id, seen=seen, to=live)


def _with_uses(tables: Tables, keys: list[Key]) -> list[Key]:
    """Add the times of last use, which only the looked-up items know."""
    uses = credentials.last_uses(tables, [key.digest for key in keys]) if keys else {}
    return [replace(key, last_used_at=uses.get(key.digest)) for key in keys]
