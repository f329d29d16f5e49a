"""Nonces of wallets: their format, their purpose, and that each works once for ten minutes."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.audit.actions import Refused
from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.core.errors import (
    Unauthorized,
)
from gatehouse.credentials.model import Code
from gatehouse.secrets.model import Purpose
from gatehouse.wallets import actions as wallets
from gatehouse.wallets import nonces, rules
from support.actors.members import (
    NONCE_SECRET,
    invited,
    member,
    new_vault,
    redeem_invite,
    signed,
)
from support.actors.visitor import Visitor
from support.actors.wallet_holder import attach_as_signed, sign_in, with_wallet
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_invariants, kind

LIFE = 10 * MINUTE


def ends_at(secret: str, nonce: str) -> Micros | None:
    return rules.ends_at(secret, nonce, purpose=rules.SIGN_IN)


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
