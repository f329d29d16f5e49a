"""Create and list invites."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import replace

from gatehouse.accounts import actions as accounts
from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids, reach, settings
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BoundReached, Unavailable
from gatehouse.core.grants import FULL, Grants
from gatehouse.core.maker import BOOTSTRAP, Maker
from gatehouse.core.principal import Principal
from gatehouse.core.reach import Reach
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Tables
from gatehouse.identities.model import IdentityType
from gatehouse.invites import rules, store, writes
from gatehouse.invites.model import LIFE, MOST_OPEN, Invite, InviteRequest
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes


def create(tables: Tables, call: Call, request: InviteRequest) -> Invite:
    """Create an invite within the caller's own grants.

    Raises BadInput, GrantsExceeded, BoundReached, IdempotencyReused, or Unavailable after too many
    conflicts.
    """
    idempotency.check(tables.main, call.guard)
    caller = call.caller
    grants = keys.checked_grants(request.scopes, request.permissions)
    expires_at = rules.check_expiry(request.expires_at, call.now)
    maker = Maker.of(caller)
    invite = replace(
        _new(caller.account_id, request, grants, expires_at=expires_at, now=call.now),
        created_by=maker.created_by,
        created_by_key=maker.created_by_key,
        rate_limit=keys.default_rate_limit(settings.DEFAULT_RATE_LIMIT.number(), caller),
        # The key that the invite creates expires no later than the inviter's own key.
        key_expires_at=caller.expires_at,
        operator=caller.operator,
    )
    reach.check(Reach.of(caller), rules.reach_of(invite))
    origin = Origin.of(call)
    claim = audit.Claim(call.guard, f"invite:{invite.id}") if call.guard else None
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        try:
            audit.commit(
                tables.main,
                invite.account_id,
                writes=writes.create(tables.main, invite)
                | key_writes.check_caller(tables.main, call),
                changes=[creation(invite)],
                origin=origin,
                now=call.now,
                claim=claim,
            )
        except audit.Refused as refused:
            conflict = refused
            keys.refuse_ended(refused)
            if "code" in refused.failed:
                invite = replace(invite, code=_code(long=request.long))
            full = refused.failed.get("count")
            if full is not None:
                _recount_open(tables.main, invite.account_id, seen=full, now=call.now)
        else:
            return invite
    raise Unavailable from conflict


def prepare_for_operator(
    account_id: str, request: InviteRequest, *, grants: Grants, now: Micros
) -> Invite:
    """Return a new invite into the operator's account, for bootstrap. Nothing is written."""
    invite = _new(account_id, request, grants, expires_at=now + LIFE, now=now)
    limit = settings.DEFAULT_RATE_LIMIT.number()
    return replace(invite, operator=True, rate_limit=limit)


def open_operator(tables: Tables, *, name: str, origin: Origin, now: Micros) -> Invite:
    """Create the operator's account without members, and the invite of its first admin.

    Raises Conflict ALREADY_BOOTSTRAPPED where there is one.
    """
    account, account_writes, change = accounts.prepare_operator(tables, name=name, now=now)
    request = InviteRequest("first admin", IdentityType.HUMAN.value, long=True)
    invite = prepare_for_operator(account.id, request, grants=FULL, now=now)
    # No limit, like the key that bootstrap creates: a key cannot create keys above its own limit.
    invite = replace(invite, rate_limit=None)
    accounts.commit_operator(
        tables,
        account,
        account_writes | writes.create(tables.main, invite),
        changes=[change, creation(invite)],
        origin=origin,
        now=now,
    )
    return invite


def creation(invite: Invite) -> Change:
    """Return the audit event's change for a new invite."""
    return Change("invite.create", f"invite:{invite.id}", after=rules.audit_view(invite))


def page(
    table: Table, account_id: str, *, limit: int, after: str | None = None
) -> tuple[list[Invite], str | None]:
    """List invites, newest first. Returns also where to continue, None at the end."""
    found, _ = store.page(table, account_id, after=after, limit=limit + 1)
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None


def room_left(table: Table, account_id: str, now: Micros) -> int:
    """Return how many more invites the account may have open."""
    return MOST_OPEN - store.count_open(table, account_id, now)


def may_see_code(invite: Invite, caller: Principal, now: Micros) -> bool:
    """Return whether a caller may see an invite's code.

    Not where the code would create a key with more than the caller's own key has.
    """
    if not rules.is_open(invite, now):
        return True
    return not reach.beyond(Reach.of(caller), rules.reach_of(invite))


def _new(
    account_id: str, request: InviteRequest, grants: Grants, *, expires_at: Micros, now: Micros
) -> Invite:
    return Invite(
        id=ids.new(now),
        account_id=account_id,
        code=_code(long=request.long),
        name=keys.checked_name(request.name),
        type=rules.check_type(request.type),
        grants=grants,
        max_uses=rules.check_max_uses(request.max_uses),
        expires_at=expires_at,
        created_by=BOOTSTRAP.created_by,
        created_at=now,
        rate_limit=None,
    )


def _code(*, long: bool) -> str:
    return secrets.token_hex(rules.LONG_BYTES if long else rules.SHORT_BYTES)


def _recount_open(table: Table, account_id: str, *, seen: Item, now: Micros) -> None:
    """Count the open invites and correct the counter: nothing decrements it when one expires."""
    still_open = store.count_open(table, account_id, now)
    # Read after the invites: an ending that lies between is counted twice, never left out.
    still_open += endings.still_counted(table, account_id, store.counter(account_id))
    if still_open >= MOST_OPEN:
        raise BoundReached(f"An account has at most {MOST_OPEN} open invites")
    with contextlib.suppress(ConditionFailed):
        store.correct_count(table, account_id, seen=seen, to=still_open)
