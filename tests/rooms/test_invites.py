"""Invites: their bounds, and the inviter's grants that they pass on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.core.errors import (
    BadInput,
    BoundReached,
    Gone,
    GrantsExceeded,
    IdempotencyReused,
)
from gatehouse.core.grants import Grants, Permissions
from gatehouse.invites import actions as invites
from gatehouse.invites import rules
from gatehouse.invites.model import MOST_OPEN, Invite, InviteRequest
from support.actors.invite_guesser import guess
from support.actors.members import (
    invited,
    redeem_invite,
)
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.invariants import check_invariants, counter_value, kind

HOUR = 60 * MINUTE


def test_a_code_has_8_or_32_hex_digits_and_is_unique(caller: Visitor) -> None:
    codes = [invited(caller, long=long).code for long in (False, True) for _ in range(3)]
    assert [len(code) for code in codes] == [8, 8, 8, 32, 32, 32]
    assert all(re.fullmatch("[0-9a-f]+", code) for code in codes)
    assert len(set(codes)) == 6


def test_a_code_that_exists_already_is_replaced_by_another(
    caller: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr(invites.secrets, "token_hex", lambda _: next(codes))
    assert [invited(caller, long=False).code for _ in range(2)] == ["aaaaaaaa", "bbbbbbbb"]
    check_invariants(caller.tables, now=caller.now)


def test_an_invite_expires_after_72_hours_or_at_most_a_year(caller: Visitor) -> None:
    assert invited(caller).expires_at == caller.now + 72 * HOUR
    assert invited(caller, expires_at=caller.now + 1).expires_at == caller.now + 1
    assert invited(caller, expires_at=caller.now + 365 * DAY).expires_at == caller.now + 365 * DAY
    for beyond in (caller.now, caller.now - 1, caller.now + 365 * DAY + 1):
        with pytest.raises(BadInput, match="expires_at"):
            invited(caller, expires_at=beyond)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"type": "ghost"}, "type"),
        ({"type": "HUMAN"}, "type"),
        ({"max_uses": 0}, "max_uses"),
        ({"max_uses": -1}, "max_uses"),
        ({"max_uses": 1_001}, "max_uses"),
        ({"scopes": ["planets:read"]}, "scopes"),
        ({"permissions": {"memory_scopes": ["burn"]}}, "permissions.memory_scopes"),
        ({"permissions": {"ring_scopes": [f"r{n}" for n in range(51)]}}, "permissions.ring_scopes"),
    ],
)
def test_the_error_for_a_value_out_of_bounds_names_its_field(
    caller: Visitor, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        invited(caller, **fields)
    assert refused.value.details["field"] == field
    assert kind(check_invariants(caller.tables, now=caller.now), "INVITES#") == []


def test_values_at_the_bounds_are_accepted(caller: Visitor) -> None:
    invite = invited(caller, name="n" * 200, max_uses=1_000)
    assert (len(invite.name), invite.max_uses) == (200, 1_000)


def test_the_name_of_a_new_member_has_the_same_bounds(caller: Visitor) -> None:
    invite = invited(caller)
    for name in ("", "n" * 201, "a\x1bb"):
        with pytest.raises(BadInput):
            guess(caller.tables, invite.code, caller.now, name=name)
    assert guess(caller.tables, invite.code, caller.now, name=" bo ").identity.name == "bo"


def test_an_invite_can_be_redeemed_only_for_its_type(caller: Visitor) -> None:
    invite = invited(caller, type="agent")
    with pytest.raises(BadInput, match="agent"):
        guess(caller.tables, invite.code, caller.now)
    check_invariants(caller.tables, now=caller.now)
    assert redeem_invite(caller.tables, invite, now=caller.now).identity.type == "agent"


def test_at_50_open_invites_expired_ones_are_no_longer_counted(
    caller: Visitor,
) -> None:
    for number in range(MOST_OPEN):
        invited(caller, expires_at=caller.now + (HOUR if number < 3 else DAY))
    with pytest.raises(BoundReached):
        invited(caller)
    caller.now += HOUR  # three of them expired, and nothing decremented the counter
    for _ in range(3):
        invited(caller)
    with pytest.raises(BoundReached):
        invited(caller)
    state = check_invariants(caller.tables, now=caller.now)
    assert counter_value(state, f"INVITES#{caller.account_id}") == MOST_OPEN
    used = next(
        item for item in kind(state, "INVITES#") if item["expires_at"] > caller.now + 2 * HOUR
    )
    guess(caller.tables, used["code"], caller.now)
    invited(caller)


def test_two_concurrent_recounts_do_not_exceed_the_bound(caller: Visitor, room_line: Wire) -> None:
    for number in range(MOST_OPEN):
        invited(caller, expires_at=caller.now + (SECOND if number == 0 else DAY))
    caller.now += SECOND
    others = []

    def between(_: int, operation: str) -> None:
        if operation == "UpdateItem":  # the first request corrects the counter
            room_line.before = None
            others.append(invited(caller))

    room_line.before = between
    with pytest.raises(BoundReached):
        invited(caller)
    assert len(others) == 1
    check_invariants(caller.tables, now=caller.now)


def _as(caller: Visitor, **changes: Any) -> Visitor:
    return replace(caller, principal=replace(caller.principal, **changes))


def test_an_invite_cannot_exceed_its_inviters_grants(caller: Visitor) -> None:
    grants = Grants(("admin:manage", "services:*"), Permissions(signal_types=("task",)))
    narrow = _as(caller, grants=grants)
    for fields, excess in (
        ({}, {"scopes": ["*"], "signal_types": ["*"]}),
        ({"scopes": ["agents:read"]}, {"scopes": ["agents:read"], "signal_types": ["*"]}),
        ({"scopes": ["services:read"]}, {"signal_types": ["*"]}),
        (
            {"scopes": [], "permissions": {"signal_types": ["task", "alert"]}},
            {"signal_types": ["alert"]},
        ),
    ):
        with pytest.raises(GrantsExceeded) as refused:
            invited(narrow, **fields)
        assert refused.value.details == excess
    within = {"scopes": ["services:read"], "permissions": {"signal_types": ["task"]}}
    redeemed = redeem_invite(caller.tables, invited(narrow, **within), now=caller.now)
    assert redeemed.identity.ceiling == redeemed.minted.key.grants
    assert redeemed.minted.key.grants == Grants(
        ("services:read",), Permissions(signal_types=("task",))
    )
    check_invariants(caller.tables, now=caller.now)


def test_the_key_of_an_invite_has_its_inviters_expiry_and_limit(caller: Visitor) -> None:
    expiring = _as(caller, expires_at=caller.now + HOUR, rate_limit=7)
    invite = invited(expiring)
    key = redeem_invite(caller.tables, invite, now=caller.now + 1).minted.key
    assert (key.expires_at, key.rate_limit) == (caller.now + HOUR, 7)


def test_an_invite_expires_with_its_inviters_key(caller: Visitor) -> None:
    """Otherwise the new member would get a key that has expired already."""
    expiring = _as(caller, expires_at=caller.now + HOUR)
    invite = invited(expiring)
    assert rules.is_open(invite, caller.now + HOUR - 1)
    with pytest.raises(Gone):
        redeem_invite(caller.tables, invite, now=caller.now + HOUR)
    redeemed = redeem_invite(caller.tables, invite, now=caller.now + HOUR - 1)
    assert redeemed.minted.key.expires_at == caller.now + HOUR


def test_a_creation_repeated_with_its_idempotency_key_names_the_invite(caller: Visitor) -> None:
    call = caller.call(token="once", body=b"1")
    invite = invites.create(caller.tables, call, InviteRequest("new", "human"))
    with pytest.raises(IdempotencyReused) as again:
        invites.create(caller.tables, call, InviteRequest("new", "human"))
    assert again.value.details == {"id": f"invite:{invite.id}"}
    other = caller.call(token="once", body=b"2")
    with pytest.raises(IdempotencyReused, match="another body"):
        invites.create(caller.tables, other, InviteRequest("other", "human"))
    caller.now += DAY
    later = caller.call(token="once", body=b"1")
    assert invites.create(caller.tables, later, InviteRequest("new", "human")).id != invite.id


def test_a_redemption_repeated_with_its_key_names_the_identity(caller: Visitor) -> None:
    invite = invited(caller, max_uses=5)
    redeemed = redeem_invite(caller.tables, invite, now=caller.now, token="once")
    with pytest.raises(IdempotencyReused) as again:
        redeem_invite(caller.tables, invite, now=caller.now, token="once")
    assert again.value.details == {"id": f"identity:{redeemed.identity.id}"}
    check_invariants(caller.tables, now=caller.now)


@given(st.text(max_size=40))
def test_a_text_is_read_as_a_code_or_as_none(text: str) -> None:
    code = rules.parse_code(text)
    if code is None:
        return
    assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{32}", code)
    assert code == text.strip().lower()


@given(
    st.sampled_from([8, 32]).flatmap(lambda n: st.text("0123456789abcdef", min_size=n, max_size=n))
)
def test_a_code_is_read_in_either_case_and_with_spaces(code: str) -> None:
    for typed in (code, code.upper(), f" {code}\n"):
        assert rules.parse_code(typed) == code
    assert rules.is_short(code) == (len(code) == 8)


def test_invites_are_listed_newest_first_until_the_last_page(caller: Visitor) -> None:
    invite: list[Invite] = [invited(caller, name=f"n{number}") for number in range(5)]
    names = [one.id for one in reversed(invite)]
    seen, after = [], None
    for _ in range(3):
        page, after = invites.page(caller.tables.main, caller.account_id, limit=2, after=after)
        seen += [one.id for one in page]
    assert seen == sorted(names, reverse=True)
    assert after is None
