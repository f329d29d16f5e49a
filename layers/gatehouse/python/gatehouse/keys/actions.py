"""Create, change and revoke keys. Rotation is in `rotation`, lists are in `lists`.

Every change is one transaction: both items of the key, its audit event, the head of the audit
chain and, if the request has one, the Idempotency-Key. What only narrows or ends a key is an ending
instead, whose audit event follows. If another request changed the key since
it was read, the change starts again from a new read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core import reach, settings
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BoundReached, NotFound, Unauthorized, Unavailable
from gatehouse.core.grants import Grants
from gatehouse.core.principal import Principal
from gatehouse.core.reach import Reach
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.credentials import writes as credential_writes
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import ConditionFailed, Item, Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.keys import rules, store
from gatehouse.keys.model import (
    MOST_LIVE,
    Key,
    KeyFilter,
    KeyPatch,
    KeyRequest,
    KeyStatus,
    Minted,
)
from gatehouse.keys.writes import (
    check_caller,
    counted,
    creation,
    forget_predecessor_writes,
    prepare,
    revocation,
    target,
)
from gatehouse.revocation import writes as revocation_writes

Result = TypeVar("Result")


def create(tables: Tables, call: Call, request: KeyRequest) -> Minted:
    """Create a key for the caller's identity or for the named owner.

    Raises BadInput, GrantsExceeded, NotFound or Conflict for the owner, or BoundReached.
    """
    idempotency.check(tables.main, call.guard)
    caller = call.caller
    new = rules.new_key(
        request, caller=caller, default_limit=settings.DEFAULT_RATE_LIMIT.number(), now=call.now
    )
    reach.check(Reach.of(caller), rules.reach_of(new))

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
        writes["owner"] = identity_writes.unchanged(tables.main, owner)
        writes |= check_caller(tables.main, call)
        commit(tables, call, writes, creation(minted.key), made=minted.key.id)
        return minted

    return retry(tables, call, attempt)


def get(tables: Tables, call: Call, key_id: str) -> Key:
    """Read a key that is not revoked and that the caller may see, or raise NotFound."""
    key = store.read(tables.main, call.caller.account_id, key_id)
    if key is None or not rules.may_see(key, call.caller) or rules.is_revoked(key, call.now):
        raise not_found()
    return key


def not_found() -> NotFound:
    """Return the error for a key that is unknown, revoked, or not the caller's to see."""
    return NotFound("API key not found", code="API_KEY_NOT_FOUND")


def get_own(tables: Tables, call: Call) -> Key:
    """Read the caller's own key."""
    return get(tables, call, call.caller.key_id)


def find(tables: Tables, account_id: str, key_id: str) -> Key | None:
    """Read a key without any check of its state or of the caller; None if there is none."""
    return store.read(tables.main, account_id, key_id)


def find_to_end(tables: Tables, call: Call, key_id: str) -> tuple[Key, bool]:
    """Read a key that the caller may see, and whether it is revoked. Raises NotFound."""
    key = store.read(tables.main, call.caller.account_id, key_id)
    if key is None or not rules.may_see(key, call.caller):
        raise not_found()
    return key, rules.is_revoked(key, call.now)


def list_signed_in(tables: Tables, account_id: str, owner: str, *, wallet: str) -> list[Key]:
    """List all keys that an identity got by signing in with a wallet, ended or not."""
    found = store.read_all_of_owner(tables.main, account_id, owner)
    return [key for key in found if key.wallet == wallet]


def status(key: Key, now: Micros) -> KeyStatus:
    """Return the status that lists show."""
    return rules.status(key, now)


def default_rate_limit(configured: int, caller: Principal) -> int:
    """Return the limit of a key requested without one: the stack's, or the caller's if lower."""
    return rules.default_rate_limit(configured, caller)


def checked_grants(
    scopes: Iterable[str] | None, permissions: Mapping[str, Iterable[str]]
) -> Grants:
    """Return grants from a request; `scopes` None means all. Raises BadInput."""
    return rules.checked_grants(scopes, permissions)


def checked_name(value: str, *, field: str = "name") -> str:
    """Return a name without surrounding space. Raises FieldRequired or BadInput."""
    return rules.checked_name(value, field=field)


def revoke(tables: Tables, call: Call, key_id: str) -> Key:
    """Revoke a key, also one that reaches further: the very next request with it is refused."""

    def attempt() -> Key:
        key = get(tables, call, key_id)
        change, writes = revocation(tables, key, now=call.now)
        _end(tables, call, writes, change, counts=counted(key, call.now))
        return replace(key, revoked_at=call.now, ended=True)

    return retry(tables, call, attempt)


def patch(tables: Tables, call: Call, key_id: str, patch: KeyPatch) -> Key:
    """Change a key. The caller must reach as far before and after, unless it only narrows."""
    checked = rules.checked_patch(patch, now=call.now)

    def attempt() -> Key:
        before = get(tables, call, key_id)
        after = rules.patched(before, checked)
        reach.check_change(
            Reach.of(call.caller),
            rules.reach_of(before),
            rules.reach_of(after),
            alone=(after.name, after.metadata) == (before.name, before.metadata),
        )
        writes = {
            "credential": credential_writes.update(
                tables.keys,
                before.digest,
                enabled=after.enabled,
                expires_at=after.expires_at,
                rate_limit=after.rate_limit,
            ),
            "key": store.replace(tables.main, after, seen=before),
        }
        if rules.admission_of(after) != rules.admission_of(before):
            writes |= forget_predecessor_writes(tables, before)
        if after.enabled and not before.enabled:
            # It may have been disabled because the owner's ceiling allows none of its grants.
            owner = identities.get(tables.main, before.account_id, before.owner)
            rules.check_ceiling(after.grants, owner.ceiling)
            writes["owner"] = identity_writes.unchanged(tables.main, owner)
        if rules.is_expired(before, call.now) and not rules.is_expired(after, call.now):
            writes["count"] = store.count(tables.main, before.account_id, 1)
        change = Change(
            "api_key.update",
            target(before),
            before=rules.audit_view(before),
            after=rules.audit_view(after),
        )
        if reach.narrows(rules.reach_of(before), rules.reach_of(after)):
            _end(tables, call, writes, change)
        else:
            if call.caller.key_id != before.id:
                # The transaction has a condition on the version of `before` already.
                writes |= check_caller(tables.main, call)
            if reach.beyond(rules.reach_of(before), rules.reach_of(after)):
                writes |= revocation_writes.changed(tables.main, call, target(before))
            commit(tables, call, writes, change)
        return after

    return retry(tables, call, attempt)


def recount_live(tables: Tables, account_id: str, *, seen: Item, now: Micros) -> None:
    """Count live keys again after the counter reached its bound, since expiry is not counted.

    `seen` is the counter's item as the failed condition found it. Raises BoundReached if the
    account really has that many live keys; otherwise the caller tries its change again.
    """
    keys = store.read_all(tables.main, account_id)
    live = sum(rules.is_listed(key, KeyFilter.LIVE, now) for key in keys)
    # Read after the keys: an ending that lies between is counted twice, never left out.
    live += endings.still_counted(tables.main, account_id, store.counter(account_id))
    if live >= MOST_LIVE:
        raise BoundReached(f"An account has at most {MOST_LIVE} live API keys")
    # If another request moved the counter meanwhile, the next try finds out.
    with contextlib.suppress(ConditionFailed):
        store.correct_count(tables.main, account_id, seen=seen, to=live)


def _end(
    tables: Tables,
    call: Call,
    writes: Mapping[str, Write],
    change: Change,
    *,
    counts: Mapping[str, int] = endings.NO_COUNTS,
) -> None:
    """Write an ending; its audit event follows."""
    endings.end(
        tables.main,
        call.caller.account_id,
        writes=writes,
        changes=[change],
        counts=counts,
        origin=Origin.of(call),
        now=call.now,
    )


def commit(
    tables: Tables,
    call: Call,
    writes: Mapping[str, Write],
    *changes: Change,
    made: str | None = None,
) -> None:
    """Write a change of a key with its audit event; `made` is the id of a key that it creates."""
    claim = audit.Claim(call.guard, made) if call.guard and made else None
    audit.commit(
        tables.main,
        call.caller.account_id,
        writes=writes,
        changes=changes,
        origin=Origin.of(call),
        now=call.now,
        claim=claim,
    )


def refuse_ended(refused: audit.Refused) -> None:
    """Raise Unauthorized if a transaction was refused because its calling key is revoked."""
    if "caller" in refused.failed:
        raise Unauthorized("Unauthorized") from refused


def retry(tables: Tables, call: Call, attempt: Callable[[], Result]) -> Result:
    """Repeat a change that was refused because something changed between read and write."""
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        try:
            return attempt()
        except audit.Refused as refused:
            conflict = refused
            refuse_ended(refused)
            counter = refused.failed.get("count")
            if counter is not None:
                recount_live(tables, call.caller.account_id, seen=counter, now=call.now)
    raise Unavailable from conflict
