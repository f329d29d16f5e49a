"""Invite, and let in."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gatehouse.accounts import actions as accounts
from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids, settings
from gatehouse.core.clock import Micros, ceil_seconds
from gatehouse.core.errors import (
    BadInput,
    BoundReached,
    Gone,
    GrantsExceeded,
    NotFound,
    RateLimited,
    Unavailable,
)
from gatehouse.core.grants import FULL, Grants
from gatehouse.core.observe import logger
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.credentials.model import ADMIN_PREFIX
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import ClawType, Identity, IdentityType, Membership
from gatehouse.invites import rules, store
from gatehouse.invites.model import MOST_OPEN, Invite, Redeemed
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import NewKey

_TRIES = 6
_EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for an invite as it came, unchecked."""

    name: str
    type: str
    scopes: Sequence[str] | None = None
    permissions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    max_uses: int = 1
    expires_at: Micros | None = None
    long: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who redeems.

    `wallet_address` is one whose signature was checked already; `bind` gives the writes that bind
    it to the new member and spend its nonce, in the same transaction: called with the member and
    the invite's `expires_at` and `rate_limit` for keys.
    """

    code: str
    name: str
    type: str
    wallet_address: str | None = None
    bind: Callable[..., Mapping[str, Write]] | None = None


def create(tables: Tables, call: Call, wish: Wish) -> Invite:
    """Make an invite within the caller's own grants."""
    idempotency.check(tables.main, call.guard)
    caller = call.caller
    grants = keys.checked_grants(wish.scopes, wish.permissions)
    expires_at = rules.expiry_of(wish.expires_at, call.now)
    limit = keys.default_rate_limit(settings.DEFAULT_RATE_LIMIT.number(), caller)
    # What the invite makes ends no later than the inviter's own key.
    keys.check_minting(
        grants, expires_at=caller.expires_at or expires_at, rate_limit=limit, caller=caller
    )
    invite = replace(
        _new(caller.account_id, wish, grants, expires_at=expires_at, now=call.now),
        created_by=f"identity:{caller.identity_id}",
        rate_limit=limit,
        key_expires_at=caller.expires_at,
        operator=caller.operator,
    )
    origin = Origin.of(call)
    claim = audit.Claim(call.guard, f"invite:{invite.id}") if call.guard else None
    for _ in range(_TRIES):
        try:
            audit.commit(
                tables.main,
                invite.account_id,
                writes=store.create(tables.main, invite),
                changes=[creation(invite)],
                origin=origin,
                now=call.now,
                claim=claim,
            )
        except audit.Refused as refused:
            if "code" in refused.failed:
                invite = replace(invite, code=_code(long=wish.long))
            full = refused.failed.get("count")
            if full is not None:
                _make_room(tables.main, invite.account_id, seen=full, now=call.now)
        else:
            return invite
    raise Unavailable


def by_system(account_id: str, wish: Wish, *, grants: Grants, now: Micros) -> Invite:
    """Prepare an invite into the operator's account that IAM or a file asks for."""
    invite = _new(account_id, wish, grants, expires_at=now + rules.LIFE, now=now)
    limit = settings.DEFAULT_RATE_LIMIT.number()
    return replace(invite, operator=True, rate_limit=limit)


def open_operator(tables: Tables, *, name: str, origin: Origin, now: Micros) -> Invite:
    """Make the operator's account without anybody in it, and the invite of its first admin.

    Raises Conflict ALREADY_BOOTSTRAPPED where there is one.
    """
    account, writes, change = accounts.prepare_operator(tables, name=name, now=now)
    wish = Wish("first admin", IdentityType.HUMAN.value, long=True)
    invite = by_system(account.id, wish, grants=FULL, now=now)
    # As with the key of bootstrap: nobody mints above their own limit.
    invite = replace(invite, rate_limit=None)
    accounts.commit_operator(
        tables,
        account,
        writes | store.create(tables.main, invite),
        changes=[change, creation(invite)],
        origin=origin,
        now=now,
    )
    return invite


creating = store.create


def creation(invite: Invite) -> Change:
    """Name the creation of an invite for the audit trail."""
    return Change("invite.create", f"invite:{invite.id}", after=rules.audit_view(invite))


def page(
    table: Table, account_id: str, *, limit: int, after: str | None = None
) -> tuple[list[Invite], str | None]:
    """List invites, newest first, and where to go on, None at the end."""
    found, _ = store.page(table, account_id, after=after, limit=limit + 1)
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None


def redeem(tables: Tables, call: Call, arrival: Arrival) -> Redeemed:
    """Let somebody in: identity, membership and key in one transaction with the invite's use.

    The first to come to an account that never had an admin becomes its admin. Raises NotFound,
    Conflict, Gone, or RateLimited when too many wrong codes came.
    """
    idempotency.check(tables.main, call.guard)
    name = keys.checked_name(arrival.name)
    kind = _type_of(arrival.type)
    for _ in range(_TRIES):
        invite = _find(tables.main, call, arrival.code)
        refusal = rules.refusal(invite, call.now)
        if refusal is not None:
            raise refusal
        if kind is not invite.type:
            raise BadInput(f"type must be {invite.type.value}", details={"field": "type"})
        is_first = not identities.has_had_admins(tables.main, invite.account_id)
        member = Identity(
            id=ids.new(call.now),
            account_id=invite.account_id,
            name=name,
            type=kind,
            is_admin=is_first,
            claw_type=ClawType.CENTRAL if is_first else ClawType.EMPLOYEE,
            membership=Membership.ACTIVE,
            created_at=call.now,
            ceiling=invite.grants,
            wallet_address=arrival.wallet_address,
        )
        try:
            return _let_in(tables, call, arrival, invite, member)
        except audit.Refused as refused:
            if "wallet" in refused.failed or "nonce" in refused.failed:
                raise
            full = refused.failed.get("key_count")
            if full is not None:
                keys.recount_live(tables, invite.account_id, seen=full, now=call.now)
            # Else somebody took a use, or was first: look again.
    raise Unavailable


def _let_in(
    tables: Tables, call: Call, arrival: Arrival, invite: Invite, member: Identity
) -> Redeemed:
    used = replace(
        invite,
        uses=invite.uses + 1,
        redeemed_by=f"identity:{member.id}",
        redeemed_at=call.now,
    )
    minted, minting = key_writes.prepare(
        tables,
        NewKey("default", ADMIN_PREFIX, invite.grants, invite.key_expires_at, invite.rate_limit),
        owner=member,
        created_by=member.id,
        operator=invite.operator,
        now=call.now,
    )
    minting["key_count"] = minting.pop("count")
    writes = {
        **store.redeem(tables.main, used, seen=invite),
        **identity_writes.join(tables.main, member, first=member.is_admin),
        **minting,
        **_bound(arrival, invite, member),
        **_standing(tables.main, invite),
    }
    audit.commit(
        tables.main,
        invite.account_id,
        writes=writes,
        changes=[
            Change(
                "invite.redeem",
                f"invite:{invite.id}",
                before=rules.audit_view(invite),
                after=rules.audit_view(used),
            ),
            identity_writes.creation(member),
            key_writes.creation(minted.key),
        ],
        origin=Origin(
            actor=f"identity:{member.id}",
            request_id=call.request_id,
            source_address=call.source_address,
        ),
        now=call.now,
        claim=audit.Claim(call.guard, f"identity:{member.id}") if call.guard else None,
    )
    return Redeemed(member, minted)


def room_left(table: Table, account_id: str, now: Micros) -> int:
    """Count how many more invites the account may have open."""
    return MOST_OPEN - store.count_open(table, account_id, now)


def _bound(arrival: Arrival, invite: Invite, member: Identity) -> Mapping[str, Write]:
    if arrival.bind is None:
        return {}
    return arrival.bind(member, expires_at=invite.key_expires_at, rate_limit=invite.rate_limit)


def _standing(table: Table, invite: Invite) -> dict[str, Write]:
    """Demand that who invites may still do so: an invite ends with its maker's power."""
    kind, _, maker = invite.created_by.partition(":")
    if kind != "identity":
        return {}  # the stack's own, from bootstrap
    inviter = identities.get(table, invite.account_id, maker)
    if not inviter.is_acting_admin:
        raise Gone("The invite has expired", code="INVITE_EXPIRED")
    return {"inviter": identity_writes.unchanged(table, inviter)}


def may_use(invite: Invite, caller: Principal, now: Micros) -> bool:
    """Tell whether a caller may see an invite's code: it must let in nobody beyond the caller."""
    if not rules.is_open(invite, now):
        return True
    try:
        keys.check_minting(
            invite.grants,
            expires_at=invite.key_expires_at,
            rate_limit=invite.rate_limit,
            caller=caller,
        )
    except GrantsExceeded:
        return False
    return True


def _find(table: Table, call: Call, text: str) -> Invite:
    """Find an invite by its code. Wrong short codes are counted, and too many refused."""
    code = rules.read_code(text)
    short = code is not None and rules.is_short(code)
    budgets = (
        (call.source_address or "unknown", *rules.WRONG_PER_ADDRESS),
        (_EVERYBODY, *rules.WRONG_IN_ALL),
    )
    if short:
        # Asked before the code is looked up: over the budget even the right one is refused.
        for who, most, window in budgets:
            if store.guesses(table, who, call.now) >= most:
                logger.warning("invite_guessing", budget=who)
                raise RateLimited("Too many wrong codes", retry_after=ceil_seconds(window))
    found = None if code is None else store.find(table, code)
    if found is not None:
        return found
    if short:
        for who, _, window in budgets:
            store.note_guess(table, who, window=window, now=call.now)
    raise NotFound("There is no such invite", code="INVITE_NOT_FOUND")


def _new(account_id: str, wish: Wish, grants: Grants, *, expires_at: Micros, now: Micros) -> Invite:
    return Invite(
        id=ids.new(now),
        account_id=account_id,
        code=_code(long=wish.long),
        name=keys.checked_name(wish.name),
        type=_type_of(wish.type),
        grants=grants,
        max_uses=rules.uses_of(wish.max_uses),
        expires_at=expires_at,
        created_by="system:bootstrap",
        created_at=now,
        rate_limit=None,
    )


def _type_of(text: str) -> IdentityType:
    if text not in set(IdentityType):
        raise BadInput("type must be human or agent", details={"field": "type"})
    return IdentityType(text)


def _code(*, long: bool) -> str:
    return secrets.token_hex(rules.LONG_BYTES if long else rules.SHORT_BYTES)


def _make_room(table: Table, account_id: str, *, seen: Item, now: Micros) -> None:
    """Count open invites again at the bound, since they expire uncounted."""
    still_open = store.count_open(table, account_id, now)
    if still_open >= MOST_OPEN:
        raise BoundReached(f"An account has at most {MOST_OPEN} open invites")
    with contextlib.suppress(ConditionFailed):
        store.correct_count(table, account_id, seen=seen, to=still_open)
