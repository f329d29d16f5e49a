"""Redeem an invite: create an identity and its first key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Change, Origin
from gatehouse.core import ids
from gatehouse.core.clock import ceil_seconds
from gatehouse.core.errors import BadInput, Gone, NotFound, RateLimited, Unavailable
from gatehouse.core.observe import logger
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.credentials.model import ADMIN_PREFIX
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import ClawType, Identity, Membership
from gatehouse.invites import rules, store
from gatehouse.invites.model import Invite, Redeemed
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import NewKey

_ALL_ADDRESSES = "*"


@dataclass(frozen=True, slots=True)
class RedeemRequest:
    """A code, and the new member as the request describes them, unchecked.

    `wallet_address` is a wallet whose signature was checked. `bind` returns the writes that bind
    it to the new member and mark its nonce as used; they go into the same transaction. `bind` is
    called with the member, the invite's `maker`, and `expires_at` and `rate_limit`, which are the
    bounds of the member's first key.
    """

    code: str
    name: str
    type: str
    wallet_address: str | None = None
    bind: Callable[..., Mapping[str, Write]] | None = None


def redeem(tables: Tables, call: Call, request: RedeemRequest) -> Redeemed:
    """Create an identity with its key, in one transaction with the use of the invite.

    The first member of an account that never had an admin becomes its admin. Raises BadInput,
    NotFound, Conflict, Gone, RateLimited after too many wrong codes, IdempotencyReused, Refused
    where a write of `bind` failed, or Unavailable after too many conflicts.
    """
    idempotency.check(tables.main, call.guard)
    name = keys.checked_name(request.name)
    kind = rules.check_type(request.type)
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        invite = _find_by_code(tables.main, call, request.code)
        refusal = rules.refusal(invite, call.now)
        if refusal is not None:
            raise refusal
        if kind is not invite.type:
            raise BadInput(f"type must be {invite.type.value}", details={"field": "type"})
        is_first = invite.grants.opens("admin:manage") and not identities.has_had_admins(
            tables.main, invite.account_id
        )
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
            wallet_address=request.wallet_address,
            maker=invite.maker,
        )
        try:
            return _create_member(tables, call, request, invite=invite, member=member)
        except audit.Refused as refused:
            conflict = refused
            if "wallet" in refused.failed or "nonce" in refused.failed:
                raise
            full = refused.failed.get("key_count")
            if full is not None:
                keys.recount_live(tables, invite.account_id, seen=full, now=call.now)
            # Otherwise another request took a use, or became the first member: read again.
    raise Unavailable from conflict


def _create_member(
    tables: Tables, call: Call, request: RedeemRequest, *, invite: Invite, member: Identity
) -> Redeemed:
    used = replace(
        invite,
        uses=invite.uses + 1,
        redeemed_by=f"identity:{member.id}",
        redeemed_at=call.now,
    )
    minted, key_items = key_writes.prepare(
        tables,
        NewKey(
            "default",
            ADMIN_PREFIX,
            invite.grants,
            invite.key_expires_at,
            invite.rate_limit,
            parent=invite.maker.key_id,
        ),
        owner=member,
        created_by=member.id,
        operator=invite.operator,
        now=call.now,
    )
    # The invite's own counter is in `writes` as `count`.
    key_items["key_count"] = key_items.pop("count")
    writes = {
        **store.redeem(tables.main, used, seen=invite),
        **identity_writes.join(tables.main, member, first=member.is_admin),
        **key_items,
        **_wallet_writes(request, invite, member),
        **_check_inviter(tables.main, invite),
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
            chain=Chain.MACHINE,
        ),
        now=call.now,
        claim=audit.Claim(call.guard, f"identity:{member.id}") if call.guard else None,
    )
    return Redeemed(member, minted)


def _wallet_writes(request: RedeemRequest, invite: Invite, member: Identity) -> Mapping[str, Write]:
    if request.bind is None:
        return {}
    return request.bind(
        member,
        maker=invite.maker,
        expires_at=invite.key_expires_at,
        rate_limit=invite.rate_limit,
    )


def _check_inviter(table: Table, invite: Invite) -> dict[str, Write]:
    """Return the check that the inviter could still create the invite. Raises Gone where not."""
    inviter_id = invite.maker.identity_id
    if inviter_id is None:
        return {}  # bootstrap created it
    inviter = identities.get(table, invite.account_id, inviter_id)
    if inviter.absence_for(rules.reach_of(invite)) is not None:
        raise Gone("The invite has expired", code="INVITE_EXPIRED")
    return {"inviter": identity_writes.unchanged(table, inviter)}


def _find_by_code(table: Table, call: Call, text: str) -> Invite:
    """Read an invite by its code. Counts wrong short codes.

    Raises NotFound, or RateLimited after too many wrong codes.
    """
    code = rules.parse_code(text)
    short = code is not None and rules.is_short(code)
    budgets = (
        (call.source_address or "unknown", *rules.WRONG_PER_ADDRESS),
        (_ALL_ADDRESSES, *rules.WRONG_IN_ALL),
    )
    if short:
        # Checked before the code is read: over the budget, the right code is refused too.
        for address, most, window in budgets:
            if store.count_wrong_codes(table, address, call.now) >= most:
                logger.warning("invite_guessing", budget=address)
                raise RateLimited("Too many wrong codes", retry_after=ceil_seconds(window))
    invite = None if code is None else store.find_by_code(table, code)
    if invite is not None:
        return invite
    if short:
        for address, _, window in budgets:
            store.add_wrong_code(table, address, window=window, now=call.now)
    raise NotFound("There is no such invite", code="INVITE_NOT_FOUND")
