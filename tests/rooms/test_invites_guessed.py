"""Wrong invite codes: who is blocked after how many, for how long."""

from __future__ import annotations

import io
import json
import re

import pytest

from gatehouse.core.clock import MINUTE, SECOND, ceil_seconds
from gatehouse.core.errors import (
    BadInput,
    NotFound,
    RateLimited,
)
from gatehouse.invites import redemption
from support.actors.invite_guesser import guess, wrong
from support.actors.members import (
    invited,
    outside,
)
from support.actors.visitor import Visitor
from support.aws import resources
from support.aws.faults import Wire
from support.checks.invariants import check_invariants, kind

HOUR = 60 * MINUTE


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
