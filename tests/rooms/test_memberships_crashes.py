"""A crash at every call to the tables, of everything that adds people, wallets and peers.

After each crash every change has its audit event and every event its change, the chain verifies,
counters are exact, pointers have their target, and sending the same request again succeeds or
answers that it was done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gatehouse.audit import sweep
from gatehouse.audit.actions import Refused
from gatehouse.core.clock import SECOND
from gatehouse.core.errors import Conflict, IdempotencyReused, NotFound, Unauthorized
from gatehouse.dynamo.table import Tables
from gatehouse.federation import actions as federation
from gatehouse.invites import actions as invites
from gatehouse.invites import redemption
from gatehouse.invites.model import InviteRequest
from gatehouse.wallets import actions as wallets
from support.actors.members import (
    NONCE_SECRET,
    change,
    empty_operator,
    invited,
    member,
    new_vault,
    outside,
    proof,
    received,
    redeem_invite,
    signed,
    trusted,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.aws.faults import Killed, Wire, die_at
from support.aws.snapshot import Rewind
from support.checks.inspection import State
from support.checks.invariants import check_invariants, kind

Act = Callable[[], Any]
MOST_CALLS = 40


def _invite(caller: Visitor) -> Act:
    return lambda: invited(caller)


def _redeem_the_last_use(caller: Visitor) -> Act:
    invite = invited(caller)
    return lambda: redeem_invite(caller.tables, invite, now=caller.now)


def _redeem_one_of_many_uses(caller: Visitor) -> Act:
    invite = invited(caller, max_uses=5, long=False)
    return lambda: redeem_invite(caller.tables, invite, now=caller.now)


def _redeem_with_a_wallet(caller: Visitor) -> Act:
    invite, wallet = invited(caller, max_uses=2), signed(caller.now)
    return lambda: redeem_invite(caller.tables, invite, now=caller.now, signed=wallet)


def _attach_a_wallet(caller: Visitor) -> Act:
    holder = member(caller)
    wallet = signed(caller.now, holder=holder)
    return lambda: wallets.attach(caller.tables, holder.call(), wallet, secret=NONCE_SECRET)


def _detach_a_wallet(caller: Visitor) -> Act:
    wallet = signed(caller.now)
    came = redeem_invite(caller.tables, invited(caller), now=caller.now, signed=wallet)
    holder = visitor_with(caller.tables, came.minted, caller.now)
    wallets.sign_in(
        caller.tables, outside(caller.now), signed(caller.now, wallet.address), secret=NONCE_SECRET
    )
    return lambda: wallets.detach(caller.tables, holder.call())


def _sign_in(caller: Visitor) -> Act:
    wallet = signed(caller.now)
    redeem_invite(caller.tables, invited(caller), now=caller.now, signed=wallet)
    again = signed(caller.now, wallet.address)
    return lambda: wallets.sign_in(caller.tables, outside(caller.now), again, secret=NONCE_SECRET)


def _sign_in_again(caller: Visitor) -> Act:
    wallet = signed(caller.now)
    redeem_invite(caller.tables, invited(caller), now=caller.now, signed=wallet)
    first, second = (signed(caller.now, wallet.address) for _ in range(2))
    wallets.sign_in(caller.tables, outside(caller.now), first, secret=NONCE_SECRET)
    return lambda: wallets.sign_in(caller.tables, outside(caller.now), second, secret=NONCE_SECRET)


def _trust(caller: Visitor) -> Act:
    vault = new_vault()
    return lambda: trusted(caller, vault)


def _remove_a_peer(caller: Visitor) -> Act:
    peer = trusted(caller, new_vault()).peer
    return lambda: federation.remove(caller.tables, caller.call(), peer.id)


def _receive(caller: Visitor) -> Act:
    vault = new_vault()
    made = trusted(caller, vault)
    shown = proof(made.secret, b"{}", caller.now)
    return lambda: received(caller.tables, vault, made.peer.id, shown, now=caller.now)


def _rename(caller: Visitor) -> Act:
    target = member(caller)
    return lambda: change(caller, target, name="renamed")


# What a repeat raises if the first try was done.
DONE: dict[Callable[[Visitor], Act], type[Exception] | None] = {
    _invite: None,
    _redeem_the_last_use: Conflict,
    _redeem_one_of_many_uses: None,
    _redeem_with_a_wallet: Refused,  # the handler turns it into an answer
    _attach_a_wallet: Conflict,
    _detach_a_wallet: NotFound,
    _sign_in: Unauthorized,
    _sign_in_again: Unauthorized,
    _trust: None,
    _remove_a_peer: NotFound,
    _receive: Unauthorized,
    _rename: None,
}
# They take effect in a first transaction; their events follow.
ENDINGS = {_remove_a_peer, _detach_a_wallet}


def _named(prepare: Callable[[Visitor], Act]) -> str:
    return prepare.__name__.strip("_").replace("_", " ")


def _dies(room_line: Wire, when: str, act: Act, number: int) -> bool:
    """Act and crash at call `number`; False if it has fewer calls, so that it was done."""
    room_line.clear()
    setattr(room_line, when, die_at(number))
    try:
        act()
    except Killed:
        return True
    finally:
        room_line.clear()
    return False


@pytest.mark.usefixtures("settings_key")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("prepare", DONE, ids=_named)
def test_a_crash_at_any_call_leaves_all_or_nothing_and_a_repeat_works(
    tables: Tables, room_line: Wire, prepare: Callable[[Visitor], Act], when: str
) -> None:
    crashes = 0
    caller = unlimited_admin(tables)
    act = prepare(caller)
    before, start = State(tables), Rewind(tables)
    for number in range(1, MOST_CALLS):
        start.back()
        if not _dies(room_line, when, act, number):
            break
        crashes += 1
        after = check_invariants(tables, now=caller.now)
        changed = after.main != before.main
        assert prepare in ENDINGS or not (changed and when == "before")
        done = DONE[prepare]
        if changed and done is not None:
            with pytest.raises(done):
                act()
        else:
            act()
        sweep.sweep(tables.main, now=caller.now)
        assert check_invariants(tables, now=caller.now).endings(caller.account_id) == []
    assert crashes >= 2, "it must crash at two calls or more"
    check_invariants(tables, now=caller.now)


@pytest.mark.usefixtures("settings_key")
@pytest.mark.parametrize("prepare", [one for one in DONE if one not in ENDINGS], ids=_named)
def test_only_the_last_call_writes(
    tables: Tables, room_line: Wire, prepare: Callable[[Visitor], Act]
) -> None:
    """One transaction as the last call: this is why a crash leaves all or nothing."""
    act = prepare(unlimited_admin(tables))
    room_line.clear()
    act()
    # A member's change is counted before.
    counted = room_line.calls[:-1].count("UpdateItem")
    assert counted <= 2
    assert set(room_line.calls[:-1]) <= {"GetItem", "BatchGetItem", "Query", "UpdateItem"}
    assert room_line.calls[-1] == "TransactWriteItems"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_of_the_first_redemption_never_makes_two_admins(
    aws: pytest.MonkeyPatch, tables: Tables, room_line: Wire, when: str
) -> None:
    """In the operator's account: a crash leaves it empty or with exactly one admin."""
    del aws
    now = unlimited_admin(tables).now
    invite = empty_operator(tables, now)
    for number in range(1, MOST_CALLS):
        if not _dies(room_line, when, lambda: redeem_invite(tables, invite, now=now), number):
            break
        state = check_invariants(tables, now=now)
        members = kind(state, f"IDENTITY#{invite.account_id}")
        assert len(members) <= (when == "after")
        if members:
            with pytest.raises(Conflict):
                redeem_invite(tables, invite, now=now)
            break
    (first,) = kind(check_invariants(tables, now=now), f"IDENTITY#{invite.account_id}")
    assert (first["is_admin"], first["claw_type"]) == (True, "central")


@pytest.mark.usefixtures("settings_key")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["invite", "identity", "api_key", "peer"])
def test_a_crash_with_an_idempotency_key_never_acts_twice(
    tables: Tables, room_line: Wire, what: str, when: str
) -> None:
    vault = new_vault()
    caller = unlimited_admin(tables)
    wallet = signed(caller.now)
    invite = invited(caller, max_uses=2)
    redeem_invite(tables, invite, now=caller.now, signed=wallet)
    call, later = caller.call(token="once"), signed(caller.now, wallet.address)
    anybody = outside(caller.now, token="once")
    acts: dict[str, Act] = {
        "invite": partial(invites.create, tables, call, InviteRequest("new", "human")),
        "identity": partial(
            redemption.redeem, tables, anybody, redemption.RedeemRequest(invite.code, "cy", "human")
        ),
        "api_key": partial(wallets.sign_in, tables, anybody, later, secret=NONCE_SECRET),
        "peer": partial(
            federation.trust,
            tables,
            call,
            vault,
            name="other",
            endpoint="https://other.example",
            allowed_scopes=None,
            expires_at=caller.now + SECOND,
        ),
    }
    kinds = {
        "invite": "INVITES#",
        "identity": "IDENTITY#",
        "api_key": "KEYS#",
        "peer": "PEERS#",
    }
    mine = f"{kinds[what]}{caller.account_id}"
    before = {item["sk"] for item in kind(State(tables), mine)}
    start = Rewind(tables)
    for number in range(1, MOST_CALLS):
        start.back()
        if not _dies(room_line, when, acts[what], number):
            break
        named = []
        for _ in range(2):
            try:
                acts[what]()
            except IdempotencyReused as reused:
                named.append(reused.details["id"])
        made = {
            item["sk"] for item in kind(check_invariants(tables, now=caller.now), mine)
        } - before
        assert len(made) == 1
        assert set(named) == {f"{what}:{one}" for one in made}
    else:
        pytest.fail(f"it still makes more than {MOST_CALLS} calls")
