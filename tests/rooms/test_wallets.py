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
from gatehouse.wallets import rules
from gatehouse.wallets.model import Signed, SignedIn
from support.actors.members import (
    NONCE_SECRET,
    boss,
    change,
    come_in,
    identity_of,
    invited,
    key_of,
    member,
    outside,
    seen_with,
    signed,
    vault,
)
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_standing, kind, live_keys, tally

LIFE = 10 * MINUTE


@pytest.fixture
def who(tables: Tables) -> Visitor:
    return boss(tables)


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


def with_wallet(who: Visitor, **fields: Any) -> tuple[Visitor, str]:
    """Redeem an invite as a new member with a wallet."""
    wallet = signed(who.now)
    result = come_in(who.tables, invited(who, **fields), now=who.now, signed=wallet)
    return seen_with(who.tables, result.minted, who.now), wallet.address


def test_a_wallet_signs_in_until_the_key_of_its_invite_expires(who: Visitor) -> None:
    inviter = replace(who, principal=replace(who.principal, expires_at=who.now + DAY))
    wallet = signed(who.now)
    come_in(who.tables, invited(inviter), now=who.now, signed=wallet)
    with pytest.raises(Unauthorized):
        sign_in(who.tables, wallet.address, who.now + DAY)
    assert sign_in(who.tables, wallet.address, who.now + DAY - 1).minted


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


def test_100_nonces_of_one_moment_all_differ(who: Visitor) -> None:
    assert len({wallets.sign_in_nonce("secret", who.now) for _ in range(100)}) == 100


@pytest.mark.usefixtures("settings_key")
def test_the_nonce_secret_is_created_once_and_stored_encrypted(
    who: Visitor, room_line: Wire
) -> None:
    stack_vault = vault()
    others: list[str] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(wallets.nonce_secret(who.tables.main, stack_vault))

    room_line.before = between
    secret = wallets.nonce_secret(who.tables.main, stack_vault)
    room_line.clear()
    assert [secret] == others, "two concurrent creators get the same secret"
    assert wallets.nonce_secret(who.tables.main, stack_vault) == secret
    (item,) = kind(State(who.tables), "SECRET#")
    assert item["sk"] == f"{Purpose.NONCE.value}#key"
    assert secret.encode() not in repr(item).encode()
    assert len(secret) == 64


@pytest.mark.parametrize("late", [-1, 0, 1])
def test_a_nonce_is_valid_for_ten_minutes_to_the_microsecond(who: Visitor, late: int) -> None:
    made_at = who.now // SECOND * SECOND
    _, address = with_wallet(who)
    wallet, at = signed(made_at, address), made_at + LIFE + late
    if late < 0:
        assert sign_in(who.tables, address, at, wallet=wallet)
    else:
        with pytest.raises(Unauthorized):
            sign_in(who.tables, address, at, wallet=wallet)


def test_a_nonce_can_be_used_once_on_any_route(who: Visitor) -> None:
    holder, address = with_wallet(who)
    used = signed(who.now, address)
    sign_in(who.tables, address, who.now, wallet=used)
    with pytest.raises(Unauthorized):
        sign_in(who.tables, address, who.now, wallet=used)
    with pytest.raises(Unauthorized):
        attach_as_signed(member(who), replace(signed(who.now), nonce=used.nonce))
    with pytest.raises(Refused) as refused:
        come_in(
            who.tables,
            invited(who),
            now=who.now,
            signed=replace(signed(who.now), nonce=used.nonce),
        )
    assert isinstance(wallets.refusal(refused.value), Unauthorized)
    assert holder.admit(holder.minted.secret).code is Code.VALID
    state = check_standing(who.tables, now=who.now)
    for item in kind(state, "NONCE#"):
        assert item["ttl"] * SECOND > (ends_at(NONCE_SECRET, item["pk"][6:]) or 0)


def test_a_nonce_is_valid_for_its_purpose_alone(who: Visitor) -> None:
    one, other = member(who), member(who)
    for wallet in (signed(who.now), signed(who.now, holder=other)):
        with pytest.raises(Unauthorized):
            attach_as_signed(one, wallet)
    mine = signed(who.now, holder=one)
    assert attach_as_signed(one, mine).wallet_address == mine.address
    for wallet in (mine, signed(who.now, mine.address, holder=one)):
        with pytest.raises(Unauthorized):
            sign_in(who.tables, mine.address, who.now, wallet=wallet)
    with pytest.raises(Unauthorized):
        come_in(who.tables, invited(who), now=who.now, signed=signed(who.now, holder=one))
    assert len(kind(check_standing(who.tables, now=who.now), "NONCE#")) == 1


def test_a_nonce_to_attach_can_be_used_once(who: Visitor) -> None:
    holder = member(who)
    mine = signed(who.now, holder=holder)
    attach_as_signed(holder, mine)
    wallets.detach(holder.tables, holder.call())
    with pytest.raises(Unauthorized):
        attach_as_signed(holder, mine)


def test_of_two_concurrent_uses_of_a_nonce_one_signs_in(who: Visitor, room_line: Wire) -> None:
    _, address = with_wallet(who)
    wallet, others = signed(who.now, address), []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(sign_in(who.tables, address, who.now, wallet=wallet))

    room_line.before = between
    with pytest.raises(Unauthorized):
        sign_in(who.tables, address, who.now, wallet=wallet)
    assert len(others) == 1
    check_standing(who.tables, now=who.now)


# ---- Attaching -------------------------------------------------------------------------------


def test_a_wallet_has_one_identity_and_an_identity_one_wallet(who: Visitor) -> None:
    first, address = with_wallet(who)
    other = member(who)
    with pytest.raises(Conflict, match="attached"):
        attach(other, signed(who.now, address))
    with pytest.raises(Conflict, match="already has a wallet"):
        attach(first, signed(who.now))
    invite = invited(who)
    with pytest.raises(Refused) as refused:
        come_in(who.tables, invite, now=who.now, signed=signed(who.now, address))
    assert isinstance(wallets.refusal(refused.value), Conflict)
    assert come_in(who.tables, invite, now=who.now)  # the refused attempt did not use it
    stranger = boss(who.tables)
    with pytest.raises(Conflict):
        attach(stranger, signed(who.now, address))
    check_standing(who.tables, now=who.now)


def test_an_address_in_capitals_is_the_same_wallet(who: Visitor) -> None:
    _, address = with_wallet(who)
    with pytest.raises(Conflict):
        attach(member(who), signed(who.now, "0x" + address[2:].upper()))


def test_of_two_concurrent_attaches_of_a_wallet_one_succeeds(who: Visitor, room_line: Wire) -> None:
    one, two, wallet = member(who), member(who), signed(who.now)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            attach(one, signed(who.now, wallet.address))

    room_line.before = between
    with pytest.raises(Conflict):
        attach(two, wallet)
    assert identity_of(one).wallet_address == wallet.address
    assert identity_of(two).wallet_address is None
    check_standing(who.tables, now=who.now)


def test_an_identity_changed_while_attaching_keeps_both_changes(
    who: Visitor, room_line: Wire
) -> None:
    holder, wallet = member(who), signed(who.now)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, holder, name="renamed")

    room_line.before = between
    after = attach(holder, wallet)
    assert (after.name, after.wallet_address) == ("renamed", wallet.address)
    assert identity_of(holder) == after
    check_standing(who.tables, now=who.now)


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
    who: Visitor, fields: dict[str, Any], missing: set[str]
) -> None:
    holder = member(who)
    if "expires_at" in fields:
        fields = {**fields, "expires_at": who.now + DAY}
    narrow = seen_with(who.tables, key_of(who, holder, **fields), who.now)
    with pytest.raises(GrantsExceeded) as refused:
        attach(narrow, signed(who.now))
    assert set(refused.value.details) == missing
    assert identity_of(holder).wallet_address is None
    assert kind(check_standing(who.tables, now=who.now), "NONCE#") == []


def test_a_key_with_the_whole_of_a_narrow_ceiling_can_attach(who: Visitor) -> None:
    holder = member(who, scopes=["services:*"], permissions={"signal_types": ["task"]})
    assert attach(holder, signed(who.now)).wallet_address


# ---- Detaching -------------------------------------------------------------------------------


def detach(holder: Visitor) -> Any:
    return wallets.detach(holder.tables, holder.call())


def test_a_detached_wallet_signs_nobody_in_and_can_be_attached_again(who: Visitor) -> None:
    holder, address = with_wallet(who)
    key = sign_in(who.tables, address, who.now).minted
    assert detach(holder).wallet_address is None
    assert identity_of(holder).wallet_address is None
    with pytest.raises(Unauthorized):
        sign_in(who.tables, address, who.now)
    assert who.admit(key.secret).code is Code.REVOKED
    assert holder.admit(holder.minted.secret).code is Code.VALID
    with pytest.raises(NotFound, match="has no wallet"):
        detach(holder)
    state = check_standing(who.tables, now=who.now)
    trail = [event["action"] for event in state.events(who.account_id)]
    assert trail[-2:] == ["identity.detach_wallet", "api_key.revoke"]
    pk = f"KEYS#{who.account_id}"
    assert tally(state, pk) == live_keys(state, who.account_id, now=who.now)
    assert attach(member(who), signed(who.now, address)).wallet_address == address


def test_a_narrow_key_may_detach_since_that_only_ends_something(who: Visitor) -> None:
    holder, _ = with_wallet(who)
    narrow = seen_with(who.tables, key_of(who, holder, scopes=[]), who.now)
    assert detach(narrow).wallet_address is None


def test_a_sign_in_while_detaching_is_refused_or_its_key_is_revoked(
    who: Visitor, room_line: Wire
) -> None:
    holder, address = with_wallet(who)
    others: list[SignedIn] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(sign_in(who.tables, address, who.now))

    room_line.before = between
    assert detach(holder).wallet_address is None
    assert who.admit(others[0].minted.secret).code is Code.REVOKED
    check_standing(who.tables, now=who.now)


# ---- Signing in ------------------------------------------------------------------------------


def test_signing_in_returns_the_ceiling_for_exactly_a_day(who: Visitor) -> None:
    holder, address = with_wallet(
        who, scopes=["services:*", "agents:read"], permissions={"ring_scopes": ["a"]}
    )
    result = sign_in(who.tables, address, who.now)
    key = result.minted.key
    assert key.grants == identity_of(holder).ceiling
    assert key.grants == Grants(("services:*", "agents:read"), Permissions(ring_scopes=("a",)))
    assert (key.owner, key.rate_limit) == (holder.principal.identity_id, 6_000)
    assert key.expires_at == who.now + 24 * 60 * MINUTE
    for moment, code in ((DAY - 1, Code.VALID), (DAY, Code.EXPIRED)):
        assert replace(who, now=who.now + moment).admit(result.minted.secret).code is code


def test_signing_in_returns_the_current_ceiling(who: Visitor) -> None:
    holder, address = with_wallet(who)
    lower = Grants(("services:read",), Permissions(signal_types=("task",)))
    change(who, holder, ceiling=lower)
    assert sign_in(who.tables, address, who.now).minted.key.grants == lower


def test_signing_in_again_revokes_the_previous_sign_in_key(
    who: Visitor,
) -> None:
    holder, address = with_wallet(who)
    pk = f"KEYS#{who.account_id}"
    result = [sign_in(who.tables, address, who.now) for _ in range(3)]
    codes = [who.admit(one.minted.secret).code for one in result]
    assert codes == [Code.REVOKED, Code.REVOKED, Code.VALID]
    state = check_standing(who.tables, now=who.now)
    assert tally(state, pk) == live_keys(state, who.account_id, now=who.now) == 3
    assert holder.admit(holder.minted.secret).code is Code.VALID, "only sign-in keys are revoked"
    trail = [event["action"] for event in state.events(who.account_id)]
    assert trail[-3:] == ["identity.sign_in", "api_key.create", "api_key.revoke"]


@pytest.mark.parametrize("ended", ["expired", "revoked", "rotated", "switched off"])
def test_the_key_count_is_right_however_the_previous_key_ended(who: Visitor, ended: str) -> None:
    _, address = with_wallet(who)
    first = sign_in(who.tables, address, who.now).minted.key
    if ended == "expired":
        who.now += DAY
    elif ended == "revoked":
        keys.revoke(who.tables, who.call(), first.id)
    elif ended == "rotated":
        rotation.rotate(who.tables, who.call(), first.id, grace_seconds=0, prefix="hk")
    else:
        keys.patch(who.tables, who.call(), first.id, KeyPatch(enabled=False))
    second = sign_in(who.tables, address, who.now)
    assert who.admit(second.minted.secret).code is Code.VALID
    state = check_standing(who.tables, now=who.now, exact=ended != "expired")
    # Nothing writes when a key expires, so it is counted until the bound is reached.
    uncounted = 1 if ended == "expired" else 0
    live = live_keys(state, who.account_id, now=who.now)
    assert tally(state, f"KEYS#{who.account_id}") == live + uncounted


def test_two_concurrent_sign_ins_succeed_and_leave_one_live_key(
    who: Visitor, room_line: Wire
) -> None:
    _, address = with_wallet(who)
    others: list[SignedIn] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            others.append(sign_in(who.tables, address, who.now))

    room_line.before = between
    last = sign_in(who.tables, address, who.now)
    assert who.admit(last.minted.secret).code is Code.VALID
    assert who.admit(others[0].minted.secret).code is Code.REVOKED
    check_standing(who.tables, now=who.now)


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_an_inactive_member_can_neither_sign_in_nor_attach(who: Visitor, status: str) -> None:
    holder, address = with_wallet(who)
    bare = member(who)
    for one in (holder, bare):
        change(who, one, status=status)
    with pytest.raises(Unauthorized):
        sign_in(who.tables, address, who.now)
    with pytest.raises(Conflict):  # over HTTP, its keys are refused before this
        attach(bare, signed(who.now))
    assert kind(check_standing(who.tables, now=who.now), "NONCE#")[1:] == []


def test_a_suspension_during_a_sign_in_refuses_it(who: Visitor, room_line: Wire) -> None:
    holder, address = with_wallet(who)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, holder, status="suspended")

    room_line.before = between
    with pytest.raises(Unauthorized):
        sign_in(who.tables, address, who.now)
    check_standing(who.tables, now=who.now)


def test_an_unknown_wallet_cannot_sign_in(who: Visitor) -> None:
    stranger = signed(who.now)
    with pytest.raises(Unauthorized):
        sign_in(who.tables, stranger.address, who.now, wallet=stranger)
    assert kind(check_standing(who.tables, now=who.now), "NONCE#") == []


def test_a_sign_in_repeated_with_its_idempotency_key_names_the_key(who: Visitor) -> None:
    _, address = with_wallet(who)
    result = sign_in(who.tables, address, who.now, token="once")
    with pytest.raises(IdempotencyReused) as again:
        sign_in(who.tables, address, who.now, token="once")
    assert again.value.details == {"id": f"api_key:{result.minted.key.id}"}
    assert who.admit(result.minted.secret).code is Code.VALID
