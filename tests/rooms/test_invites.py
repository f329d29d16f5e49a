"""Invites: bounds, inviters' grants, the first member, the last use, and wrong codes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import DAY, MINUTE, SECOND, Micros, ceil_seconds
from gatehouse.core.errors import (
    BadInput,
    BoundReached,
    Conflict,
    Gone,
    GrantsExceeded,
    IdempotencyReused,
    NotFound,
    RateLimited,
)
from gatehouse.core.grants import FULL, Grants, Permissions
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.invites import actions as invites
from gatehouse.invites import redemption, rules
from gatehouse.invites.model import MOST_OPEN, Invite, InviteRequest, Redeemed
from support.actors.members import (
    empty_operator,
    identity_of,
    invited,
    member,
    outside,
    redeem_invite,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.aws import resources
from support.aws.faults import Wire
from support.checks.invariants import check_invariants, counter_value, identities, kind

HOUR = 60 * MINUTE


def guess(
    tables: Tables, code: str, now: Micros, *, source: str = "198.51.100.1", name: str = "bo"
) -> Redeemed:
    request = redemption.RedeemRequest(code=code, name=name, type="human")
    return redemption.redeem(tables, outside(now, source=source), request)


def wrong(tables: Tables, times: int, now: Micros, source: str = "198.51.100.1") -> None:
    for number in range(times):
        with pytest.raises(NotFound):
            guess(tables, f"{number:08x}", now, source=source)


# ---- Bounds ----------------------------------------------------------------------------------


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


# ---- The inviter's grants --------------------------------------------------------------------


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


# ---- The last use, and the first member ------------------------------------------------------


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


# ---- Wrong codes -----------------------------------------------------------------------------


def test_after_five_wrong_codes_the_right_one_is_refused_too(caller: Visitor) -> None:
    invite = invited(caller, long=False)
    wrong(caller.tables, 5, caller.now)
    for code in ("00000009", invite.code):
        with pytest.raises(RateLimited) as refused:
            guess(caller.tables, code, caller.now)
        assert refused.value.retry_after == ceil_seconds(10 * MINUTE)
    redeemed = guess(caller.tables, invite.code, caller.now, source="198.51.100.2")
    assert redeemed.identity.name == "bo"


def test_after_four_wrong_codes_the_right_one_is_accepted(caller: Visitor) -> None:
    invite = invited(caller, long=False)
    wrong(caller.tables, 4, caller.now)
    guess(caller.tables, invite.code, caller.now)


def test_an_address_is_blocked_until_ten_minutes_after_its_first_code(
    caller: Visitor,
) -> None:
    invite = invited(caller, long=False, max_uses=9)
    wrong(caller.tables, 1, caller.now)
    wrong(caller.tables, 4, caller.now + 9 * MINUTE)
    with pytest.raises(RateLimited):
        guess(caller.tables, invite.code, caller.now + 10 * MINUTE - 1)
    guess(caller.tables, invite.code, caller.now + 10 * MINUTE)
    wrong(caller.tables, 5, caller.now + 10 * MINUTE)  # a new window
    with pytest.raises(RateLimited):
        guess(caller.tables, invite.code, caller.now + 20 * MINUTE - 1)
    guess(caller.tables, invite.code, caller.now + 20 * MINUTE)


def test_after_60_wrong_codes_in_an_hour_all_addresses_are_blocked(caller: Visitor) -> None:
    invite = invited(caller, long=False)
    for number in range(12):
        wrong(caller.tables, 5, caller.now + number, source=f"198.51.100.{number}")
    for source in ("198.51.100.200", "198.51.100.201"):
        with pytest.raises(RateLimited) as refused:
            guess(caller.tables, invite.code, caller.now + HOUR - 1, source=source)
        assert refused.value.retry_after == 3_600
    guess(caller.tables, invite.code, caller.now + HOUR, source="198.51.100.200")


def test_long_and_malformed_codes_are_not_counted(caller: Visitor) -> None:
    long, short = invited(caller), invited(caller, long=False)
    for code in ("0" * 32, "not a code", "0" * 7, "0" * 9, "", "gggggggg", "é" * 8, "٣" * 8) * 8:
        with pytest.raises(NotFound):
            guess(caller.tables, code, caller.now)
    assert kind(check_invariants(caller.tables, now=caller.now), "GUESSES#") == []
    wrong(caller.tables, 5, caller.now)
    with pytest.raises(RateLimited):
        guess(caller.tables, short.code, caller.now)
    assert guess(caller.tables, long.code, caller.now)


def test_right_codes_are_not_counted_as_wrong(caller: Visitor) -> None:
    invite = invited(caller, long=False, max_uses=9)
    for _ in range(7):
        guess(caller.tables, invite.code, caller.now)
    for _ in range(7):
        request = redemption.RedeemRequest(code=invite.code, name="bo", type="agent")
        with pytest.raises(BadInput):  # the code is right, the type is not
            redemption.redeem(caller.tables, outside(caller.now, source="198.51.100.1"), request)
    assert kind(check_invariants(caller.tables, now=caller.now), "GUESSES#") == []


def test_two_wrong_codes_that_start_a_window_are_both_counted(
    caller: Visitor, room_line: Wire
) -> None:
    def between(_: int, operation: str) -> None:
        if operation == "UpdateItem":
            room_line.before = None
            wrong(caller.tables, 1, caller.now)

    room_line.before = between
    wrong(caller.tables, 1, caller.now)
    room_line.clear()
    counted = {
        item["pk"]: item["wrong"]
        for item in kind(check_invariants(caller.tables, now=caller.now), "GUESSES#")
    }
    assert counted == {"GUESSES#198.51.100.1": 2, "GUESSES#*": 2}


def test_counters_of_wrong_codes_have_a_ttl_after_their_window(caller: Visitor) -> None:
    wrong(caller.tables, 1, caller.now)
    for item in kind(check_invariants(caller.tables, now=caller.now), "GUESSES#"):
        assert item["ttl"] * SECOND >= item["ends_at"] > caller.now


def test_the_log_line_about_guessing_matches_the_metric_filter(
    caller: Visitor, logs: io.StringIO
) -> None:
    pattern = resources.template()["Resources"]["InviteGuessingFilter"]["Properties"][
        "FilterPattern"
    ]
    found = re.fullmatch(r'\{ \$\.(\w+) = "(\w+)" \}', pattern)
    assert found is not None
    wrong(caller.tables, 5, caller.now)
    assert found[2] not in logs.getvalue()
    with pytest.raises(RateLimited):
        guess(caller.tables, "0000000a", caller.now)
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    (line,) = [line for line in lines if line.get(found[1]) == found[2]]
    assert line["budget"] == "198.51.100.1"
    assert "0000000a" not in logs.getvalue()


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
