"""The two numbers of GCRA, compared with a reference implementation in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.grants import FULL
from gatehouse.credentials import rules
from gatehouse.credentials.model import Code, Credential, Owner

limits = st.one_of(st.integers(1, 60_000), st.sampled_from([1, 2, 3, 7, 59, 60, 61, 6_000, 60_000]))
steps = st.lists(
    st.one_of(st.just(0), st.integers(0, 3 * MINUTE), st.integers(0, SECOND // 1_000)),
    min_size=1,
    max_size=200,
)


class TwoNumbers:
    """The item after each of the two conditional updates."""

    def __init__(self, limit: int) -> None:
        self.pace = rules.pace(limit)
        self.tat: int | None = None
        self.allow_at = 0

    def spend(self, now: int) -> bool:
        """Do what the table does: one update for an unused key, another for a busy one."""
        if self.tat is None or self.tat <= now:
            self.tat, self.allow_at = now + self.pace.interval, now + self.pace.refill
            return True
        if self.allow_at > now:
            return False
        self.tat += self.pace.interval
        self.allow_at += self.pace.interval
        return True


class Reference:
    """GCRA as it is usually written, with the same interval and window."""

    def __init__(self, limit: int) -> None:
        self.interval = Fraction(-(-MINUTE // limit))
        self.window = limit * self.interval
        self.tat = Fraction(0)

    def spend(self, now: int) -> bool:
        """Admit a request if its arrival stays within the window."""
        moved = max(self.tat, Fraction(now)) + self.interval
        if moved - now > self.window:
            return False
        self.tat = moved
        return True


@given(limit=limits, steps=steps, start=st.integers(1, 2_000_000_000 * SECOND))
def test_the_two_updates_match_the_reference(limit: int, steps: list[int], start: int) -> None:
    ours, reference = TwoNumbers(limit), Reference(limit)
    now = start
    for step in steps:
        now += step
        assert ours.spend(now) == reference.spend(now)


@given(limit=limits, steps=steps)
@example(limit=1, steps=[0, MINUTE - 1, 1, 0, MINUTE, MINUTE])
def test_no_time_span_admits_more_than_the_documented_bound(limit: int, steps: list[int]) -> None:
    ours, now = TwoNumbers(limit), 10**15
    passed: list[int] = []
    for step in steps:
        now += step
        if ours.spend(now):
            passed.append(now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            span = Fraction(passed[last] - begin)
            assert last - first + 1 <= limit + span * limit / MINUTE


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50, 59, 60, 61, 999, 6_000, 7_777, 59_999, 60_000])
def test_a_burst_is_exactly_the_limit(limit: int) -> None:
    ours = TwoNumbers(limit)
    assert sum(ours.spend(10**15) for _ in range(limit + 50)) == limit
    later = 10**15 + limit * ours.pace.interval
    assert sum(ours.spend(later) for _ in range(limit + 50)) == limit, (
        "and again once the window has passed"
    )


@pytest.mark.parametrize("limit", [1, 3, 60, 6_000, 60_000])
def test_a_steady_caller_at_exactly_the_limit_is_never_refused(limit: int) -> None:
    ours, now = TwoNumbers(limit), 10**15
    for _ in range(500):
        assert ours.spend(now)
        now += ours.pace.interval


def _credential(limit: int, tat: int | None) -> Credential:
    owner = Owner("i", is_admin=True, claw_type="central", membership="active")
    return Credential(
        "d", "k", "a", "hk_0000", owner, FULL, operator=False, rate_limit=limit, tat=tat
    )


@given(limit=limits, steps=steps)
def test_the_reported_limit_state_is_what_then_happens(limit: int, steps: list[int]) -> None:
    ours, now = TwoNumbers(limit), 10**15
    for step in steps:
        now += step
        over = rules.is_over_limit(_credential(limit, ours.tat), now)
        assert ours.spend(now) == (not over)
        credential = _credential(limit, ours.tat)
        if over:
            state = rules.state_when_refused(credential, now)
            assert state.exceeded
            assert state.remaining == 0
            wait = state.retry_after * SECOND
            assert rules.is_over_limit(
                credential, now + (wait - SECOND if state.retry_after > 1 else 0)
            )
            assert not rules.is_over_limit(credential, now + wait)
        else:
            state = rules.state_after(limit, credential.tat or 0, now)
            assert not state.exceeded
        rest = TwoNumbers(limit)
        rest.tat, rest.allow_at = ours.tat, ours.allow_at
        more = 0
        while more <= state.remaining + 1 and more < 300 and rest.spend(now):
            more += 1
        assert more == min(state.remaining, 300)
        assert rules.state_after(limit, credential.tat or 0, now + state.reset * SECOND).reset == 0


@pytest.mark.parametrize(
    ("revoked_at", "expires_at", "enabled", "membership", "code"),
    [
        (None, None, True, "active", Code.VALID),
        (101, 101, True, "active", Code.VALID),
        (100, None, True, "active", Code.REVOKED),
        (100, 100, False, "removed", Code.REVOKED),
        (101, 100, False, "removed", Code.EXPIRED),
        (None, 1, True, "active", Code.EXPIRED),
        (None, None, False, "active", Code.DISABLED),
        (None, None, True, "invited", Code.DISABLED),
        (None, None, True, "suspended", Code.DISABLED),
        (None, None, True, "removed", Code.DISABLED),
    ],
)
def test_the_first_reason_against_a_key_is_its_code(
    revoked_at: int | None, expires_at: int | None, *, enabled: bool, membership: str, code: Code
) -> None:
    credential = Credential(
        "d",
        "k",
        "a",
        "hk_0000",
        Owner("i", is_admin=True, claw_type="central", membership=membership),
        FULL,
        operator=False,
        enabled=enabled,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )
    assert rules.code_of(credential, 100) is code
