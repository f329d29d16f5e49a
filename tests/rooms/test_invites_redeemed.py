"""Redeeming invites: the last use, the first member, and several at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import (
    Conflict,
    Gone,
    NotFound,
)
from gatehouse.core.grants import FULL
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.invites.model import Redeemed
from support.actors.members import (
    empty_operator,
    identity_of,
    invited,
    member,
    redeem_invite,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.invariants import check_invariants, counter_value, identities


def _run_concurrently(line: Wire, act: Callable[[], Any], times: int, outcomes: list[Any]) -> None:
    """Call `act` so often, each call starting when the one before is about to write.

    So each call reads the state before any of them has written, like threads at a barrier.
    """
    left = times - 1

    def between(_: int, operation: str) -> None:
        nonlocal left
        if operation == "TransactWriteItems" and left:
            left -= 1
            _collect(act, outcomes)

    line.before = between
    _collect(act, outcomes)
    line.clear()


def _collect(act: Callable[[], Any], outcomes: list[Any]) -> None:
    try:
        outcomes.append(act())
    except (Conflict, Gone, NotFound) as error:
        outcomes.append(error)


@pytest.mark.usefixtures("sleeps")
def test_of_50_concurrent_requests_one_gets_the_last_use(caller: Visitor, room_line: Wire) -> None:
    invite = invited(caller, max_uses=2)
    redeem_invite(caller.tables, invite, now=caller.now)
    outcomes: list[Any] = []
    _run_concurrently(
        room_line, lambda: redeem_invite(caller.tables, invite, now=caller.now), 50, outcomes
    )
    assert len(outcomes) == 50
    won = [one for one in outcomes if isinstance(one, Redeemed)]
    assert len(won) == 1
    lost = {one.code for one in outcomes if isinstance(one, Conflict)}
    assert lost == {"INVITE_ALREADY_REDEEMED"}
    state = check_invariants(caller.tables, now=caller.now)
    assert len(identities(state, caller.account_id)) == 3
    assert counter_value(state, f"KEYS#{caller.account_id}") == len(state.owned) == 3


@pytest.mark.usefixtures("sleeps")
def test_concurrent_requests_all_succeed_with_enough_uses(caller: Visitor, room_line: Wire) -> None:
    invite = invited(caller, max_uses=4)
    outcomes: list[Any] = []
    _run_concurrently(
        room_line, lambda: redeem_invite(caller.tables, invite, now=caller.now), 4, outcomes
    )
    assert all(isinstance(one, Redeemed) for one in outcomes)
    check_invariants(caller.tables, now=caller.now)


def test_an_invite_expires_to_the_microsecond(caller: Visitor) -> None:
    invite = invited(caller, expires_at=caller.now + MINUTE, max_uses=2)
    redeem_invite(caller.tables, invite, now=caller.now + MINUTE - 1)
    with pytest.raises(Gone):
        redeem_invite(caller.tables, invite, now=caller.now + MINUTE)
    with pytest.raises(Conflict):  # used up is reported before expired
        redeem_invite(
            caller.tables, replace(invite, code=_used_up(caller)), now=caller.now + MINUTE
        )


def _used_up(caller: Visitor) -> str:
    invite = invited(caller, expires_at=caller.now + SECOND)
    redeem_invite(caller.tables, invite, now=caller.now)
    return invite.code


def _role_of(redeemed: Redeemed) -> tuple[bool, str]:
    return redeemed.identity.is_admin, redeemed.identity.claw_type.value


def test_the_first_member_of_an_empty_account_is_central_admin(tables: Tables) -> None:
    now = unlimited_admin(tables).now
    redeemed = redeem_invite(tables, empty_operator(tables, now), now=now)
    assert _role_of(redeemed) == (True, "central")
    first = visitor_with(tables, redeemed.minted, now)
    assert (first.principal.operator, first.principal.rate_limit) == (True, None)
    assert first.principal.grants == FULL
    assert _role_of(redeem_invite(tables, invited(first), now=now)) == (False, "employee")
    check_invariants(tables, now=now)


def test_members_after_the_first_are_employees(tables: Tables) -> None:
    now = unlimited_admin(tables).now
    invite = empty_operator(tables, now, uses=3)
    assert [_role_of(redeem_invite(tables, invite, now=now)) for _ in range(3)] == [
        (True, "central"),
        (False, "employee"),
        (False, "employee"),
    ]
    check_invariants(tables, now=now)


@pytest.mark.usefixtures("sleeps")
@pytest.mark.parametrize("at_once", [2, 5])
def test_of_several_concurrent_first_members_one_is_admin(
    tables: Tables, room_line: Wire, at_once: int
) -> None:
    now = unlimited_admin(tables).now
    invite = empty_operator(tables, now, uses=at_once)
    outcomes: list[Any] = []
    _run_concurrently(room_line, lambda: redeem_invite(tables, invite, now=now), at_once, outcomes)
    roles = sorted(_role_of(one) for one in outcomes)
    assert roles == [(False, "employee")] * (at_once - 1) + [(True, "central")]
    check_invariants(tables, now=now)


def test_a_member_of_an_account_with_an_admin_is_an_employee(caller: Visitor) -> None:
    newcomer = member(caller)
    assert identity_of(newcomer).claw_type == "employee"
    assert not newcomer.principal.is_admin
    assert caller.admit(newcomer.minted.secret).code is Code.VALID
