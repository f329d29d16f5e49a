"""Invites at their bounds: codes, uses, expiry, and what audit events show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.core.clock import SECOND
from gatehouse.core.errors import BadInput, Conflict, Gone
from gatehouse.core.grants import Grants, Permissions
from gatehouse.identities.model import IdentityType
from gatehouse.invites import rules
from gatehouse.invites.model import Invite

NOW = 1_800_000_000 * SECOND
INVITE = Invite(
    *("v1", "a1", "0123abcd", "Ada", IdentityType.AGENT),
    grants=Grants(("agents:read",), Permissions(ring_scopes=("r",))),
    max_uses=3,
    expires_at=NOW,
    created_by="i1",
    created_at=5,
    rate_limit=None,
    uses=2,
)


def test_lengths_and_budgets_have_their_documented_values() -> None:
    assert (rules.SHORT_BYTES, rules.LONG_BYTES) == (4, 16)
    assert rules.WRONG_PER_ADDRESS == (5, 600_000_000)
    assert rules.WRONG_IN_ALL == (60, 3_600_000_000)
    assert rules.LONGEST_LIFE == 31_536_000_000_000


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0123abcf", "0123abcf"),
        (" 0123ABCF\n", "0123abcf"),
        ("09af" * 8, "09af" * 8),
        *((text, None) for text in ("", "0" * 7, "0" * 9, "0" * 31, "0" * 33, "0" * 16)),
        *((text, None) for text in ("0123abcg", "0123 abc", "\u0660" * 8)),
    ],
)
def test_a_code_has_8_or_32_hex_digits(text: str, code: str | None) -> None:
    assert rules.parse_code(text) == code


@pytest.mark.parametrize(("digits", "short"), [(7, False), (8, True), (9, False), (32, False)])
def test_only_a_code_of_8_digits_is_short(digits: int, *, short: bool) -> None:
    assert rules.is_short("0" * digits) is short


def test_a_new_member_is_a_human_or_an_agent() -> None:
    assert rules.check_type("human") is IdentityType.HUMAN
    assert rules.check_type("agent") is IdentityType.AGENT
    for text in ("", "Human", "robot"):
        with pytest.raises(BadInput) as refused:
            rules.check_type(text)
        assert refused.value.message == "type must be human or agent"
        assert refused.value.details == {"field": "type"}


def test_an_invite_is_redeemed_1_to_1000_times() -> None:
    assert [rules.check_max_uses(value) for value in (1, 1_000)] == [1, 1_000]
    for value in (-1, 0, 1_001):
        with pytest.raises(BadInput) as refused:
            rules.check_max_uses(value)
        assert refused.value.message == "max_uses must be from 1 to 1000"
        assert refused.value.details == {"field": "max_uses"}


YEAR = 31_536_000_000_000


@pytest.mark.parametrize(
    ("value", "checked"),
    [(None, NOW + 259_200_000_000), (NOW + 1, NOW + 1), (NOW + YEAR, NOW + YEAR)],
)
def test_an_invite_ends_within_a_year_and_usually_after_72_hours(
    value: int | None, checked: int
) -> None:
    assert rules.check_expiry(value, NOW) == checked


@pytest.mark.parametrize("value", [NOW - 1, NOW, NOW + YEAR + 1])
def test_an_expiry_outside_the_next_year_is_refused(value: int) -> None:
    with pytest.raises(BadInput) as refused:
        rules.check_expiry(value, NOW)
    assert refused.value.message == "expires_at must be in the future, at most a year ahead"
    assert refused.value.details == {"field": "expires_at"}


@pytest.mark.parametrize(
    ("uses", "expires_at", "key_expires_at", "code"),
    [
        (2, NOW + 1, None, None),
        (2, NOW + 1, NOW + 1, None),
        (2, NOW, None, "INVITE_EXPIRED"),
        (2, NOW + 1, NOW, "INVITE_EXPIRED"),
        (2, NOW - 1, NOW + 1, "INVITE_EXPIRED"),
        (3, NOW + 1, None, "INVITE_ALREADY_REDEEMED"),
        (4, NOW, None, "INVITE_ALREADY_REDEEMED"),
    ],
)
def test_an_invite_is_open_until_its_last_use_or_moment(
    uses: int, expires_at: int, key_expires_at: int | None, code: str | None
) -> None:
    invite = replace(INVITE, uses=uses, expires_at=expires_at, key_expires_at=key_expires_at)
    assert rules.is_open(invite, NOW) is (code is None)
    refusal = rules.refusal(invite, NOW)
    assert (None if refusal is None else refusal.code) == code


def test_a_refusal_states_why_the_invite_cannot_be_redeemed() -> None:
    used = rules.refusal(replace(INVITE, uses=3), NOW)
    assert isinstance(used, Conflict)
    assert used.message == "The invite was already redeemed"
    expired = rules.refusal(INVITE, NOW)
    assert isinstance(expired, Gone)
    assert expired.message == "The invite has expired"


def test_an_audit_event_shows_an_invite_without_its_code() -> None:
    open_lists = {"signal_types": [], "task_types": [], "memory_scopes": []}
    assert rules.audit_view(INVITE) == {
        "name": "Ada",
        "type": "agent",
        "scopes": ["agents:read"],
        "permissions": {**open_lists, "ring_scopes": ["r"]},
        "max_uses": 3,
        "uses": 2,
        "expires_at": "2027-01-15T08:00:00.000Z",
        "created_by": "i1",
        "created_by_key": None,
    }
