"""Invites: bounds, the budget of wrong codes, who comes first, and the last use."""

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
from gatehouse.invites import rules
from gatehouse.invites.model import MOST_OPEN, Invite, Redeemed
from support.actors.members import (
    boss,
    come_in,
    empty_operator,
    identity_of,
    invited,
    member,
    outside,
    seen_with,
)
from support.actors.visitor import Visitor
from support.aws import resources
from support.aws.faults import Wire
from support.checks.invariants import check_standing, identities, kind, tally

HOUR = 60 * MINUTE


@pytest.fixture
def who(tables: Tables) -> Visitor:
    return boss(tables)


def guess(
    tables: Tables, code: str, now: Micros, *, source: str = "198.51.100.1", name: str = "bo"
) -> Redeemed:
    arrival = invites.Arrival(code=code, name=name, type="human")
    return invites.redeem(tables, outside(now, source=source), arrival)


def wrong(tables: Tables, times: int, now: Micros, source: str = "198.51.100.1") -> None:
    for number in range(times):
        with pytest.raises(NotFound):
            guess(tables, f"{number:08x}", now, source=source)


# ---- Bounds ----------------------------------------------------------------------------------


def test_a_code_is_8_hex_digits_or_32_and_every_one_is_new(who: Visitor) -> None:
    codes = [invited(who, long=long).code for long in (False, True) for _ in range(3)]
    assert [len(code) for code in codes] == [8, 8, 8, 32, 32, 32]
    assert all(re.fullmatch("[0-9a-f]+", code) for code in codes)
    assert len(set(codes)) == 6


def test_a_code_that_stands_already_is_made_again(
    who: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr(invites.secrets, "token_hex", lambda _: next(codes))
    assert [invited(who, long=False).code for _ in range(2)] == ["aaaaaaaa", "bbbbbbbb"]
    check_standing(who.tables, now=who.now)


def test_an_invite_lives_72_hours_unless_said_otherwise_and_at_most_a_year(who: Visitor) -> None:
    assert invited(who).expires_at == who.now + 72 * HOUR
    assert invited(who, expires_at=who.now + 1).expires_at == who.now + 1
    assert invited(who, expires_at=who.now + 365 * DAY).expires_at == who.now + 365 * DAY
    for beyond in (who.now, who.now - 1, who.now + 365 * DAY + 1):
        with pytest.raises(BadInput, match="expires_at"):
            invited(who, expires_at=beyond)


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
def test_what_breaks_a_bound_is_refused_by_its_field(
    who: Visitor, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        invited(who, **fields)
    assert refused.value.details["field"] == field
    assert kind(check_standing(who.tables, now=who.now), "INVITES#") == []


def test_the_bounds_themselves_are_within(who: Visitor) -> None:
    made = invited(who, name="n" * 200, max_uses=1_000)
    assert (len(made.name), made.max_uses) == (200, 1_000)


def test_names_of_who_comes_in_have_the_same_bounds(who: Visitor) -> None:
    made = invited(who)
    for name in ("", "n" * 201, "a\x1bb"):
        with pytest.raises(BadInput):
            guess(who.tables, made.code, who.now, name=name)
    assert guess(who.tables, made.code, who.now, name=" bo ").identity.name == "bo"


def test_an_invite_is_for_its_type_only(who: Visitor) -> None:
    made = invited(who, type="agent")
    with pytest.raises(BadInput, match="agent"):
        guess(who.tables, made.code, who.now)
    check_standing(who.tables, now=who.now)
    assert come_in(who.tables, made, now=who.now).identity.type == "agent"


def test_an_account_has_at_most_50_open_invites_and_counts_again_at_the_bound(
    who: Visitor,
) -> None:
    for number in range(MOST_OPEN):
        invited(who, expires_at=who.now + (HOUR if number < 3 else DAY))
    with pytest.raises(BoundReached):
        invited(who)
    who.now += HOUR  # three of them ran out, which nothing was written of
    for _ in range(3):
        invited(who)
    with pytest.raises(BoundReached):
        invited(who)
    state = check_standing(who.tables, now=who.now)
    assert tally(state, f"INVITES#{who.account_id}") == MOST_OPEN
    used = next(item for item in kind(state, "INVITES#") if item["expires_at"] > who.now + 2 * HOUR)
    guess(who.tables, used["code"], who.now)
    invited(who)


def test_two_who_count_again_at_once_do_not_pass_the_bound(who: Visitor, room_line: Wire) -> None:
    for number in range(MOST_OPEN):
        invited(who, expires_at=who.now + (SECOND if number == 0 else DAY))
    who.now += SECOND
    met = []

    def between(_: int, operation: str) -> None:
        if operation == "UpdateItem":  # the correction of the first one
            room_line.before = None
            met.append(invited(who))

    room_line.before = between
    with pytest.raises(BoundReached):
        invited(who)
    assert len(met) == 1
    check_standing(who.tables, now=who.now)


# ---- What an inviter can give ----------------------------------------------------------------


def _as(who: Visitor, **held: Any) -> Visitor:
    return replace(who, principal=replace(who.principal, **held))


def test_an_invite_lies_within_its_inviters_own_grants(who: Visitor) -> None:
    grants = Grants(("admin:manage", "services:*"), Permissions(signal_types=("task",)))
    narrow = _as(who, grants=grants)
    for asked, excess in (
        ({}, {"scopes": ["*"], "signal_types": ["*"]}),
        ({"scopes": ["agents:read"]}, {"scopes": ["agents:read"], "signal_types": ["*"]}),
        ({"scopes": ["services:read"]}, {"signal_types": ["*"]}),
        (
            {"scopes": [], "permissions": {"signal_types": ["task", "alert"]}},
            {"signal_types": ["alert"]},
        ),
    ):
        with pytest.raises(GrantsExceeded) as refused:
            invited(narrow, **asked)
        assert refused.value.details == excess
    within = {"scopes": ["services:read"], "permissions": {"signal_types": ["task"]}}
    came = come_in(who.tables, invited(narrow, **within), now=who.now)
    assert came.identity.ceiling == came.minted.key.grants
    assert came.minted.key.grants == Grants(("services:read",), Permissions(signal_types=("task",)))
    check_standing(who.tables, now=who.now)


def test_what_an_invite_makes_ends_with_its_inviters_key_and_is_no_faster(who: Visitor) -> None:
    passing = _as(who, expires_at=who.now + HOUR, rate_limit=7)
    made = invited(passing)
    key = come_in(who.tables, made, now=who.now + 1).minted.key
    assert (key.expires_at, key.rate_limit) == (who.now + HOUR, 7)


def test_an_invite_is_over_when_its_inviters_key_is(who: Visitor) -> None:
    """Else who comes in has an identity and a key that was over before it was made."""
    passing = _as(who, expires_at=who.now + HOUR)
    made = invited(passing)
    assert rules.is_open(made, who.now + HOUR - 1)
    with pytest.raises(Gone):
        come_in(who.tables, made, now=who.now + HOUR)
    came = come_in(who.tables, made, now=who.now + HOUR - 1)
    assert came.minted.key.expires_at == who.now + HOUR


def test_a_repeat_under_an_idempotency_key_names_the_invite(who: Visitor) -> None:
    call = who.call(token="once", body=b"1")
    made = invites.create(who.tables, call, invites.Wish("new", "human"))
    with pytest.raises(IdempotencyReused) as again:
        invites.create(who.tables, call, invites.Wish("new", "human"))
    assert again.value.details == {"id": f"invite:{made.id}"}
    other = who.call(token="once", body=b"2")
    with pytest.raises(IdempotencyReused, match="another body"):
        invites.create(who.tables, other, invites.Wish("other", "human"))
    who.now += DAY
    later = who.call(token="once", body=b"1")
    assert invites.create(who.tables, later, invites.Wish("new", "human")).id != made.id


def test_a_repeated_redemption_under_an_idempotency_key_names_the_identity(who: Visitor) -> None:
    made = invited(who, max_uses=5)
    came = come_in(who.tables, made, now=who.now, token="once")
    with pytest.raises(IdempotencyReused) as again:
        come_in(who.tables, made, now=who.now, token="once")
    assert again.value.details == {"id": f"identity:{came.identity.id}"}
    check_standing(who.tables, now=who.now)


# ---- The last use, and the first to come -----------------------------------------------------


def _within_each_other(line: Wire, act: Callable[[], Any], times: int, outcomes: list[Any]) -> None:
    """Let `times` do the same, each beginning when the one before is about to write.

    So all of them have read what stood before any of them wrote: fifty at a barrier.
    """
    left = times - 1

    def between(_: int, operation: str) -> None:
        nonlocal left
        if operation == "TransactWriteItems" and left:
            left -= 1
            _note(act, outcomes)

    line.before = between
    _note(act, outcomes)
    line.clear()


def _note(act: Callable[[], Any], outcomes: list[Any]) -> None:
    try:
        outcomes.append(act())
    except (Conflict, Gone, NotFound) as error:
        outcomes.append(error)


@pytest.mark.usefixtures("sleeps")
def test_the_last_use_is_won_by_one_of_fifty_at_once_and_the_losers_leave_nothing(
    who: Visitor, room_line: Wire
) -> None:
    made = invited(who, max_uses=2)
    come_in(who.tables, made, now=who.now)
    outcomes: list[Any] = []
    _within_each_other(room_line, lambda: come_in(who.tables, made, now=who.now), 50, outcomes)
    assert len(outcomes) == 50
    won = [one for one in outcomes if isinstance(one, Redeemed)]
    assert len(won) == 1
    lost = {one.code for one in outcomes if isinstance(one, Conflict)}
    assert lost == {"INVITE_ALREADY_REDEEMED"}
    state = check_standing(who.tables, now=who.now)
    assert len(identities(state, who.account_id)) == 3
    assert tally(state, f"KEYS#{who.account_id}") == len(state.owned) == 3


@pytest.mark.usefixtures("sleeps")
def test_all_of_several_at_once_come_in_where_there_are_uses_for_all(
    who: Visitor, room_line: Wire
) -> None:
    made = invited(who, max_uses=4)
    outcomes: list[Any] = []
    _within_each_other(room_line, lambda: come_in(who.tables, made, now=who.now), 4, outcomes)
    assert all(isinstance(one, Redeemed) for one in outcomes)
    check_standing(who.tables, now=who.now)


def test_an_invite_that_ran_out_is_gone_to_the_microsecond(who: Visitor) -> None:
    made = invited(who, expires_at=who.now + MINUTE, max_uses=2)
    come_in(who.tables, made, now=who.now + MINUTE - 1)
    with pytest.raises(Gone):
        come_in(who.tables, made, now=who.now + MINUTE)
    with pytest.raises(Conflict):  # used up says more than run out
        come_in(who.tables, replace(made, code=_used_up(who)), now=who.now + MINUTE)


def _used_up(who: Visitor) -> str:
    made = invited(who, expires_at=who.now + SECOND)
    come_in(who.tables, made, now=who.now)
    return made.code


def _standing_of(came: Redeemed) -> tuple[bool, str]:
    return came.identity.is_admin, came.identity.claw_type.value


def test_the_first_to_come_to_an_empty_account_is_its_central_admin(tables: Tables) -> None:
    now = boss(tables).now
    came = come_in(tables, empty_operator(tables, now), now=now)
    assert _standing_of(came) == (True, "central")
    first = seen_with(tables, came.minted, now)
    assert (first.principal.operator, first.principal.rate_limit) == (True, None)
    assert first.principal.grants == FULL
    assert _standing_of(come_in(tables, invited(first), now=now)) == (False, "employee")
    check_standing(tables, now=now)


def test_whoever_comes_after_the_first_is_an_employee(tables: Tables) -> None:
    now = boss(tables).now
    made = empty_operator(tables, now, uses=3)
    assert [_standing_of(come_in(tables, made, now=now)) for _ in range(3)] == [
        (True, "central"),
        (False, "employee"),
        (False, "employee"),
    ]
    check_standing(tables, now=now)


@pytest.mark.usefixtures("sleeps")
@pytest.mark.parametrize("at_once", [2, 5])
def test_of_several_first_at_once_one_is_the_admin(
    tables: Tables, room_line: Wire, at_once: int
) -> None:
    now = boss(tables).now
    made = empty_operator(tables, now, uses=at_once)
    outcomes: list[Any] = []
    _within_each_other(room_line, lambda: come_in(tables, made, now=now), at_once, outcomes)
    standings = sorted(_standing_of(one) for one in outcomes)
    assert standings == [(False, "employee")] * (at_once - 1) + [(True, "central")]
    check_standing(tables, now=now)


def test_an_account_that_was_opened_with_an_admin_has_no_first_to_come(who: Visitor) -> None:
    newcomer = member(who)
    assert identity_of(newcomer).claw_type == "employee"
    assert not newcomer.principal.is_admin
    assert who.admit(newcomer.minted.secret).code is Code.VALID


# ---- The budget of wrong codes ---------------------------------------------------------------


def test_after_five_wrong_codes_an_address_waits_even_with_the_right_one(who: Visitor) -> None:
    made = invited(who, long=False)
    wrong(who.tables, 5, who.now)
    for code in ("00000009", made.code):
        with pytest.raises(RateLimited) as refused:
            guess(who.tables, code, who.now)
        assert refused.value.retry_after == ceil_seconds(10 * MINUTE)
    came = guess(who.tables, made.code, who.now, source="198.51.100.2")
    assert came.identity.name == "bo"


def test_four_wrong_codes_do_not_yet_cost_the_fifth_try(who: Visitor) -> None:
    made = invited(who, long=False)
    wrong(who.tables, 4, who.now)
    guess(who.tables, made.code, who.now)


def test_the_window_of_an_address_ends_ten_minutes_after_its_first_wrong_code(
    who: Visitor,
) -> None:
    made = invited(who, long=False, max_uses=9)
    wrong(who.tables, 1, who.now)
    wrong(who.tables, 4, who.now + 9 * MINUTE)
    with pytest.raises(RateLimited):
        guess(who.tables, made.code, who.now + 10 * MINUTE - 1)
    guess(who.tables, made.code, who.now + 10 * MINUTE)
    wrong(who.tables, 5, who.now + 10 * MINUTE)  # a window of its own
    with pytest.raises(RateLimited):
        guess(who.tables, made.code, who.now + 20 * MINUTE - 1)
    guess(who.tables, made.code, who.now + 20 * MINUTE)


def test_60_wrong_codes_in_an_hour_close_it_to_every_address(who: Visitor) -> None:
    made = invited(who, long=False)
    for number in range(12):
        wrong(who.tables, 5, who.now + number, source=f"198.51.100.{number}")
    for source in ("198.51.100.200", "198.51.100.201"):
        with pytest.raises(RateLimited) as refused:
            guess(who.tables, made.code, who.now + HOUR - 1, source=source)
        assert refused.value.retry_after == 3_600
    guess(who.tables, made.code, who.now + HOUR, source="198.51.100.200")


def test_long_codes_and_what_is_no_code_are_neither_counted_nor_refused(who: Visitor) -> None:
    long, short = invited(who), invited(who, long=False)
    for code in ("0" * 32, "not a code", "0" * 7, "0" * 9, "", "gggggggg", "é" * 8, "٣" * 8) * 8:
        with pytest.raises(NotFound):
            guess(who.tables, code, who.now)
    assert kind(check_standing(who.tables, now=who.now), "GUESSES#") == []
    wrong(who.tables, 5, who.now)
    with pytest.raises(RateLimited):
        guess(who.tables, short.code, who.now)
    assert guess(who.tables, long.code, who.now)


def test_right_codes_are_not_counted(who: Visitor) -> None:
    made = invited(who, long=False, max_uses=9)
    for _ in range(7):
        guess(who.tables, made.code, who.now)
    for _ in range(7):
        arrival = invites.Arrival(code=made.code, name="bo", type="agent")
        with pytest.raises(BadInput):  # it is known, only of another type
            invites.redeem(who.tables, outside(who.now, source="198.51.100.1"), arrival)
    assert kind(check_standing(who.tables, now=who.now), "GUESSES#") == []


def test_two_who_begin_a_window_at_once_are_both_counted(who: Visitor, room_line: Wire) -> None:
    def between(_: int, operation: str) -> None:
        if operation == "UpdateItem":
            room_line.before = None
            wrong(who.tables, 1, who.now)

    room_line.before = between
    wrong(who.tables, 1, who.now)
    room_line.clear()
    counted = {
        item["pk"]: item["wrong"]
        for item in kind(check_standing(who.tables, now=who.now), "GUESSES#")
    }
    assert counted == {"GUESSES#198.51.100.1": 2, "GUESSES#*": 2}


def test_what_is_counted_is_forgotten_by_the_table_once_its_window_is_over(who: Visitor) -> None:
    wrong(who.tables, 1, who.now)
    for item in kind(check_standing(who.tables, now=who.now), "GUESSES#"):
        assert item["ttl"] * SECOND >= item["ends_at"] > who.now


def test_a_used_up_budget_is_logged_as_the_templates_metric_filter_reads_it(
    who: Visitor, logs: io.StringIO
) -> None:
    pattern = resources.template()["Resources"]["InviteGuessingFilter"]["Properties"][
        "FilterPattern"
    ]
    found = re.fullmatch(r'\{ \$\.(\w+) = "(\w+)" \}', pattern)
    assert found is not None
    wrong(who.tables, 5, who.now)
    assert found[2] not in logs.getvalue()
    with pytest.raises(RateLimited):
        guess(who.tables, "0000000a", who.now)
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    (line,) = [line for line in lines if line.get(found[1]) == found[2]]
    assert line["budget"] == "198.51.100.1"
    assert "0000000a" not in logs.getvalue()


@given(st.text(max_size=40))
def test_a_code_is_read_in_either_case_and_with_space_around_it_or_not_at_all(text: str) -> None:
    read = rules.read_code(text)
    if read is None:
        return
    assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{32}", read)
    assert read == text.strip().lower()


@given(
    st.sampled_from([8, 32]).flatmap(lambda n: st.text("0123456789abcdef", min_size=n, max_size=n))
)
def test_every_code_is_read_as_itself(code: str) -> None:
    for typed in (code, code.upper(), f" {code}\n"):
        assert rules.read_code(typed) == code
    assert rules.is_short(code) == (len(code) == 8)


def test_a_listing_pages_newest_first_and_knows_its_end(who: Visitor) -> None:
    made: list[Invite] = [invited(who, name=f"n{number}") for number in range(5)]
    names = [one.id for one in reversed(made)]
    seen, after = [], None
    for _ in range(3):
        page, after = invites.page(who.tables.main, who.account_id, limit=2, after=after)
        seen += [one.id for one in page]
    assert seen == sorted(names, reverse=True)
    assert after is None
