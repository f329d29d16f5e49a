"""Attaching a wallet to an identity, and detaching it."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.audit.actions import Refused
from gatehouse.audit.model import Chain
from gatehouse.core.clock import DAY
from gatehouse.core.errors import (
    Conflict,
    GrantsExceeded,
    NotFound,
    Unauthorized,
)
from gatehouse.credentials.model import Code
from gatehouse.wallets import actions as wallets
from gatehouse.wallets.model import SignedIn
from support.actors.members import (
    change,
    identity_of,
    invited,
    key_of,
    member,
    redeem_invite,
    signed,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.actors.wallet_holder import attach, detach, sign_in, with_wallet
from support.aws.faults import Wire
from support.checks.invariants import check_invariants, counter_value, kind, live_keys


def test_a_wallet_has_one_identity_and_an_identity_one_wallet(caller: Visitor) -> None:
    first, address = with_wallet(caller)
    other = member(caller)
    with pytest.raises(Conflict, match="attached"):
        attach(other, signed(caller.now, address))
    with pytest.raises(Conflict, match="already has a wallet"):
        attach(first, signed(caller.now))
    invite = invited(caller)
    with pytest.raises(Refused) as refused:
        redeem_invite(caller.tables, invite, now=caller.now, signed=signed(caller.now, address))
    assert isinstance(wallets.refusal(refused.value), Conflict)
    assert redeem_invite(
        caller.tables, invite, now=caller.now
    )  # the refused attempt did not use it
    stranger = unlimited_admin(caller.tables)
    with pytest.raises(Conflict):
        attach(stranger, signed(caller.now, address))
    check_invariants(caller.tables, now=caller.now)


def test_an_address_in_capitals_is_the_same_wallet(caller: Visitor) -> None:
    _, address = with_wallet(caller)
    with pytest.raises(Conflict):
        attach(member(caller), signed(caller.now, "0x" + address[2:].upper()))


def test_of_two_concurrent_attaches_of_a_wallet_one_succeeds(
    caller: Visitor, room_line: Wire
) -> None:
    one, two, wallet = member(caller), member(caller), signed(caller.now)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            attach(one, signed(caller.now, wallet.address))

    room_line.before = between
    with pytest.raises(Conflict):
        attach(two, wallet)
    assert identity_of(one).wallet_address == wallet.address
    assert identity_of(two).wallet_address is None
    check_invariants(caller.tables, now=caller.now)


def test_an_identity_changed_while_attaching_keeps_both_changes(
    caller: Visitor, room_line: Wire
) -> None:
    holder, wallet = member(caller), signed(caller.now)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(caller, holder, name="renamed")

    room_line.before = between
    after = attach(holder, wallet)
    assert (after.name, after.wallet_address) == ("renamed", wallet.address)
    assert identity_of(holder) == after
    check_invariants(caller.tables, now=caller.now)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"scopes": ["services:*"]}, {"scopes"}),
        ({"scopes": []}, {"scopes"}),
        ({"permissions": {"signal_types": ["task"]}}, {"signal_types"}),
        ({"expires_at": DAY}, {"expires_at"}),
        ({"scopes": ["services:*"], "expires_at": DAY}, {"scopes", "expires_at"}),
    ],
)
def test_a_key_with_less_than_the_ceiling_cannot_attach_a_wallet(
    caller: Visitor, fields: dict[str, Any], missing: set[str]
) -> None:
    holder = member(caller)
    if "expires_at" in fields:
        fields = {**fields, "expires_at": caller.now + DAY}
    narrow = visitor_with(caller.tables, key_of(caller, holder, **fields), caller.now)
    with pytest.raises(GrantsExceeded) as refused:
        attach(narrow, signed(caller.now))
    assert set(refused.value.details) == missing
    assert identity_of(holder).wallet_address is None
    assert kind(check_invariants(caller.tables, now=caller.now), "NONCE#") == []


def test_a_key_with_the_whole_of_a_narrow_ceiling_can_attach(caller: Visitor) -> None:
    holder = member(caller, scopes=["services:*"], permissions={"signal_types": ["task"]})
    assert attach(holder, signed(caller.now)).wallet_address


def test_a_detached_wallet_signs_nobody_in_and_can_be_attached_again(caller: Visitor) -> None:
    holder, address = with_wallet(caller)
    key = sign_in(caller.tables, address, caller.now).minted
    assert detach(holder).wallet_address is None
    assert identity_of(holder).wallet_address is None
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, address, caller.now)
    assert caller.admit(key.secret).code is Code.REVOKED
    assert holder.admit(holder.minted.secret).code is Code.VALID
    with pytest.raises(NotFound, match="has no wallet"):
        detach(holder)
    state = check_invariants(caller.tables, now=caller.now)
    trail = [one["action"] for one in state.events(caller.account_id, Chain.ADMINISTRATION)]
    assert trail[-2:] == ["identity.detach_wallet", "api_key.revoke"]
    pk = f"KEYS#{caller.account_id}"
    assert counter_value(state, pk) == live_keys(state, caller.account_id, now=caller.now)
    assert attach(member(caller), signed(caller.now, address)).wallet_address == address


def test_a_narrow_key_may_detach_since_that_only_ends_something(caller: Visitor) -> None:
    holder, _ = with_wallet(caller)
    narrow = visitor_with(caller.tables, key_of(caller, holder, scopes=[]), caller.now)
    assert detach(narrow).wallet_address is None


def test_a_sign_in_while_detaching_is_refused_or_its_key_is_revoked(
    caller: Visitor, room_line: Wire
) -> None:
    holder, address = with_wallet(caller)
    others: list[SignedIn] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(sign_in(caller.tables, address, caller.now))

    room_line.before = between
    assert detach(holder).wallet_address is None
    assert caller.admit(others[0].minted.secret).code is Code.REVOKED
    check_invariants(caller.tables, now=caller.now)
