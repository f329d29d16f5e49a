"""Signing in with a wallet, which returns a key for a day."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.core.clock import DAY, MINUTE
from gatehouse.core.errors import (
    Conflict,
    IdempotencyReused,
    Unauthorized,
)
from gatehouse.core.grants import Grants, Permissions
from gatehouse.credentials.model import Code
from gatehouse.keys import actions as keys
from gatehouse.keys import rotation
from gatehouse.keys.model import KeyPatch
from gatehouse.wallets.model import SignedIn
from support.actors.members import (
    change,
    identity_of,
    invited,
    member,
    redeem_invite,
    signed,
)
from support.actors.visitor import Visitor
from support.actors.wallet_holder import attach, sign_in, with_wallet
from support.aws.faults import Wire
from support.checks.invariants import check_invariants, counter_value, kind, live_keys


def test_a_wallet_signs_in_until_the_key_of_its_invite_expires(caller: Visitor) -> None:
    inviter = replace(caller, principal=replace(caller.principal, expires_at=caller.now + DAY))
    wallet = signed(caller.now)
    redeem_invite(caller.tables, invited(inviter), now=caller.now, signed=wallet)
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, wallet.address, caller.now + DAY)
    assert sign_in(caller.tables, wallet.address, caller.now + DAY - 1).minted


def test_signing_in_returns_the_ceiling_for_exactly_a_day(caller: Visitor) -> None:
    holder, address = with_wallet(
        caller, scopes=["services:*", "agents:read"], permissions={"ring_scopes": ["a"]}
    )
    result = sign_in(caller.tables, address, caller.now)
    key = result.minted.key
    assert key.grants == identity_of(holder).ceiling
    assert key.grants == Grants(("services:*", "agents:read"), Permissions(ring_scopes=("a",)))
    assert (key.owner, key.rate_limit) == (holder.principal.identity_id, 6_000)
    assert key.expires_at == caller.now + 24 * 60 * MINUTE
    for moment, code in ((DAY - 1, Code.VALID), (DAY, Code.EXPIRED)):
        assert replace(caller, now=caller.now + moment).admit(result.minted.secret).code is code


def test_signing_in_returns_the_current_ceiling(caller: Visitor) -> None:
    holder, address = with_wallet(caller)
    lower = Grants(("services:read",), Permissions(signal_types=("task",)))
    change(caller, holder, ceiling=lower)
    assert sign_in(caller.tables, address, caller.now).minted.key.grants == lower


def test_signing_in_again_gives_no_new_burst(
    caller: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_DEFAULT_RATE_LIMIT", "5")
    _, address = with_wallet(caller)
    passed = 0
    for _ in range(4):
        key = sign_in(caller.tables, address, caller.now).minted.secret
        passed += sum(caller.admit(key).code is Code.VALID for _ in range(2))
    assert passed == 5


def test_signing_in_again_revokes_the_previous_sign_in_key(
    caller: Visitor,
) -> None:
    holder, address = with_wallet(caller)
    pk = f"KEYS#{caller.account_id}"
    result = [sign_in(caller.tables, address, caller.now) for _ in range(3)]
    codes = [caller.admit(one.minted.secret).code for one in result]
    assert codes == [Code.REVOKED, Code.REVOKED, Code.VALID]
    state = check_invariants(caller.tables, now=caller.now)
    assert counter_value(state, pk) == live_keys(state, caller.account_id, now=caller.now) == 3
    assert holder.admit(holder.minted.secret).code is Code.VALID, "only sign-in keys are revoked"
    trail = [event["action"] for event in state.events(caller.account_id)]
    assert trail[-3:] == ["identity.sign_in", "api_key.create", "api_key.revoke"]


@pytest.mark.parametrize("ended", ["expired", "revoked", "rotated", "switched off"])
def test_the_key_count_is_right_however_the_previous_key_ended(caller: Visitor, ended: str) -> None:
    _, address = with_wallet(caller)
    first = sign_in(caller.tables, address, caller.now).minted.key
    if ended == "expired":
        caller.now += DAY
    elif ended == "revoked":
        keys.revoke(caller.tables, caller.call(), first.id)
    elif ended == "rotated":
        rotation.rotate(caller.tables, caller.call(), first.id, grace_seconds=0, prefix="hk")
    else:
        keys.patch(caller.tables, caller.call(), first.id, KeyPatch(enabled=False))
    second = sign_in(caller.tables, address, caller.now)
    assert caller.admit(second.minted.secret).code is Code.VALID
    state = check_invariants(caller.tables, now=caller.now, exact=ended != "expired")
    # Nothing writes when a key expires, so it is counted until the bound is reached.
    uncounted = 1 if ended == "expired" else 0
    live = live_keys(state, caller.account_id, now=caller.now)
    assert counter_value(state, f"KEYS#{caller.account_id}") == live + uncounted


def test_two_concurrent_sign_ins_succeed_and_leave_one_live_key(
    caller: Visitor, room_line: Wire
) -> None:
    _, address = with_wallet(caller)
    others: list[SignedIn] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(sign_in(caller.tables, address, caller.now))

    room_line.before = between
    last = sign_in(caller.tables, address, caller.now)
    assert caller.admit(last.minted.secret).code is Code.VALID
    assert caller.admit(others[0].minted.secret).code is Code.REVOKED
    check_invariants(caller.tables, now=caller.now)


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_an_inactive_member_can_neither_sign_in_nor_attach(caller: Visitor, status: str) -> None:
    holder, address = with_wallet(caller)
    bare = member(caller)
    for one in (holder, bare):
        change(caller, one, status=status)
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, address, caller.now)
    with pytest.raises(Conflict):  # over HTTP, its keys are refused before this
        attach(bare, signed(caller.now))
    assert kind(check_invariants(caller.tables, now=caller.now), "NONCE#")[1:] == []


def test_a_suspension_during_a_sign_in_refuses_it(caller: Visitor, room_line: Wire) -> None:
    holder, address = with_wallet(caller)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(caller, holder, status="suspended")

    room_line.before = between
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, address, caller.now)
    check_invariants(caller.tables, now=caller.now)


def test_an_unknown_wallet_cannot_sign_in(caller: Visitor) -> None:
    stranger = signed(caller.now)
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, stranger.address, caller.now, wallet=stranger)
    assert kind(check_invariants(caller.tables, now=caller.now), "NONCE#") == []


def test_a_sign_in_repeated_with_its_idempotency_key_names_the_key(caller: Visitor) -> None:
    _, address = with_wallet(caller)
    result = sign_in(caller.tables, address, caller.now, token="once")
    with pytest.raises(IdempotencyReused) as again:
        sign_in(caller.tables, address, caller.now, token="once")
    assert again.value.details == {"id": f"api_key:{result.minted.key.id}"}
    assert caller.admit(result.minted.secret).code is Code.VALID
