"""Nonces, attaching wallets, and signing in, which returns a key for a day."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.audit.actions import Refused
from gatehouse.audit.model import Chain
from gatehouse.core.clock import DAY, MINUTE, SECOND, Micros
from gatehouse.core.errors import (
    Conflict,
    GrantsExceeded,
    IdempotencyReused,
    NotFound,
    Unauthorized,
)
from gatehouse.core.grants import Grants, Permissions
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys import rotation
from gatehouse.keys.model import KeyPatch
from gatehouse.secrets.model import Purpose
from gatehouse.wallets import actions as wallets
from gatehouse.wallets import nonces, rules
from gatehouse.wallets.model import Signed, SignedIn
from support.actors.members import (
    NONCE_SECRET,
    change,
    identity_of,
    invited,
    key_of,
    member,
    new_vault,
    outside,
    redeem_invite,
    signed,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_invariants, counter_value, kind, live_keys

LIFE = 10 * MINUTE


def attach(holder: Visitor, wallet: Signed) -> Any:
    """Attach a wallet with a nonce that is the holder's own."""
    own = signed(holder.now, wallet.address, holder=holder)
    return attach_as_signed(holder, own)


def attach_as_signed(holder: Visitor, wallet: Signed) -> Any:
    return wallets.attach(holder.tables, holder.call(), wallet, secret=NONCE_SECRET)


def sign_in(tables: Tables, address: str, now: Micros, **options: Any) -> SignedIn:
    wallet = options.get("wallet") or signed(now, address)
    call = outside(now, token=options.get("token"))
    return wallets.sign_in(tables, call, wallet, secret=NONCE_SECRET)


def with_wallet(caller: Visitor, **fields: Any) -> tuple[Visitor, str]:
    """Redeem an invite as a new member with a wallet."""
    wallet = signed(caller.now)
    result = redeem_invite(caller.tables, invited(caller, **fields), now=caller.now, signed=wallet)
    return visitor_with(caller.tables, result.minted, caller.now), wallet.address


def test_a_wallet_signs_in_until_the_key_of_its_invite_expires(caller: Visitor) -> None:
    inviter = replace(caller, principal=replace(caller.principal, expires_at=caller.now + DAY))
    wallet = signed(caller.now)
    redeem_invite(caller.tables, invited(inviter), now=caller.now, signed=wallet)
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, wallet.address, caller.now + DAY)
    assert sign_in(caller.tables, wallet.address, caller.now + DAY - 1).minted


def ends_at(secret: str, nonce: str) -> Micros | None:
    return rules.ends_at(secret, nonce, purpose=rules.SIGN_IN)


# ---- Nonces ----------------------------------------------------------------------------------


def test_the_format_of_a_nonce_is_pinned() -> None:
    """Two versions of the stack may run at the same time, and both must read it."""
    now = 1_800_000_000 * SECOND + 999_999
    nonce = rules.write_nonce("secret", bytes(range(8)), now, purpose="sign-in")
    body = "6b49d200" + "0001020304050607"
    text = f"sign-in\n{body}".encode()
    assert nonce == body + hmac.new(b"secret", text, hashlib.sha256).hexdigest()[:16]
    assert rules.SIGN_IN == "sign-in"
    assert rules.attaching("a", "i") == "attach:a:i"
    assert nonce == "6b49d2000001020304050607" + nonce[24:]
    assert len(nonce) == 40
    assert ends_at("secret", nonce) == 1_800_000_000 * SECOND + LIFE


@given(st.integers(0, 39), st.integers(1, 15))
def test_a_nonce_with_any_digit_changed_is_not_valid(at: int, by: int) -> None:
    nonce = rules.write_nonce("secret", b"12345678", 1_800_000_000 * SECOND, purpose=rules.SIGN_IN)
    digit = f"{(int(nonce[at], 16) + by) % 16:x}"
    assert ends_at("secret", nonce[:at] + digit + nonce[at + 1 :]) is None


@pytest.mark.parametrize(
    "nonce", ["", "f" * 39, "f" * 40, "f" * 41, "g" * 40, "F" * 40, "٣" * 40, "f" * 40 + "\n"]
)
def test_a_malformed_nonce_is_not_valid(nonce: str) -> None:
    assert ends_at("secret", nonce) is None


def test_a_nonce_of_another_stack_or_in_capitals_is_not_valid() -> None:
    nonce = rules.write_nonce("secret", b"12345678", 1_800_000_000 * SECOND, purpose=rules.SIGN_IN)
    assert ends_at("other", nonce) is None
    assert ends_at("secret", nonce.upper()) is None
    assert ends_at("secret", nonce + "0") is None


def test_100_nonces_of_one_moment_all_differ(caller: Visitor) -> None:
    assert len({nonces.sign_in_nonce("secret", caller.now) for _ in range(100)}) == 100


@pytest.mark.usefixtures("settings_key")
def test_the_nonce_secret_is_created_once_and_stored_encrypted(
    caller: Visitor, room_line: Wire
) -> None:
    vault = new_vault()
    others: list[str] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(nonces.nonce_secret(caller.tables.main, vault))

    room_line.before = between
    secret = nonces.nonce_secret(caller.tables.main, vault)
    room_line.clear()
    assert [secret] == others, "two concurrent creators get the same secret"
    assert nonces.nonce_secret(caller.tables.main, vault) == secret
    (item,) = kind(State(caller.tables), "SECRET#")
    assert item["sk"] == f"{Purpose.NONCE.value}#key"
    assert secret.encode() not in repr(item).encode()
    assert len(secret) == 64


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_nonce_is_valid_for_ten_minutes_to_the_microsecond(caller: Visitor, late: int) -> None:
    made_at = caller.now // SECOND * SECOND
    _, address = with_wallet(caller)
    wallet, at = signed(made_at, address), made_at + LIFE + late
    if late < 0:
        assert sign_in(caller.tables, address, at, wallet=wallet)
    else:
        with pytest.raises(Unauthorized):
            sign_in(caller.tables, address, at, wallet=wallet)


def test_a_nonce_can_be_used_once_on_any_route(caller: Visitor) -> None:
    holder, address = with_wallet(caller)
    used = signed(caller.now, address)
    sign_in(caller.tables, address, caller.now, wallet=used)
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, address, caller.now, wallet=used)
    with pytest.raises(Unauthorized):
        attach_as_signed(member(caller), replace(signed(caller.now), nonce=used.nonce))
    with pytest.raises(Refused) as refused:
        redeem_invite(
            caller.tables,
            invited(caller),
            now=caller.now,
            signed=replace(signed(caller.now), nonce=used.nonce),
        )
    assert isinstance(wallets.refusal(refused.value), Unauthorized)
    assert holder.admit(holder.minted.secret).code is Code.VALID
    state = check_invariants(caller.tables, now=caller.now)
    for item in kind(state, "NONCE#"):
        assert item["ttl"] * SECOND > (ends_at(NONCE_SECRET, item["pk"][6:]) or 0)


def test_a_nonce_is_valid_for_its_purpose_alone(caller: Visitor) -> None:
    one, other = member(caller), member(caller)
    for wallet in (signed(caller.now), signed(caller.now, holder=other)):
        with pytest.raises(Unauthorized):
            attach_as_signed(one, wallet)
    mine = signed(caller.now, holder=one)
    assert attach_as_signed(one, mine).wallet_address == mine.address
    for wallet in (mine, signed(caller.now, mine.address, holder=one)):
        with pytest.raises(Unauthorized):
            sign_in(caller.tables, mine.address, caller.now, wallet=wallet)
    with pytest.raises(Unauthorized):
        redeem_invite(
            caller.tables, invited(caller), now=caller.now, signed=signed(caller.now, holder=one)
        )
    assert len(kind(check_invariants(caller.tables, now=caller.now), "NONCE#")) == 1


def test_a_nonce_to_attach_can_be_used_once(caller: Visitor) -> None:
    holder = member(caller)
    mine = signed(caller.now, holder=holder)
    attach_as_signed(holder, mine)
    wallets.detach(holder.tables, holder.call())
    with pytest.raises(Unauthorized):
        attach_as_signed(holder, mine)


def test_of_two_concurrent_uses_of_a_nonce_one_signs_in(caller: Visitor, room_line: Wire) -> None:
    _, address = with_wallet(caller)
    wallet, others = signed(caller.now, address), []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(sign_in(caller.tables, address, caller.now, wallet=wallet))

    room_line.before = between
    with pytest.raises(Unauthorized):
        sign_in(caller.tables, address, caller.now, wallet=wallet)
    assert len(others) == 1
    check_invariants(caller.tables, now=caller.now)


# ---- Attaching -------------------------------------------------------------------------------


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


# ---- Detaching -------------------------------------------------------------------------------


def detach(holder: Visitor) -> Any:
    return wallets.detach(holder.tables, holder.call())


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


# ---- Signing in ------------------------------------------------------------------------------


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
