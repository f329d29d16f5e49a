"""Back-off: how many tries, how long the waits, and what the last failure raises."""

from __future__ import annotations

import random

import pytest

from gatehouse.core.retry import Backoff


class Refused(Exception):
    pass


@pytest.fixture
def longest_draws(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr(random, "uniform", uniform)
    return drawn


@pytest.mark.usefixtures("longest_draws")
def test_waits_double_up_to_the_longest(sleeps: list[float]) -> None:
    assert list(Backoff(6, first=0.02, longest=0.1).tries()) == [1, 2, 3, 4, 5, 6]
    assert sleeps == [0.02, 0.04, 0.08, 0.1, 0.1]


def test_jitter_is_drawn_between_the_least_share_and_the_whole(
    longest_draws: list[tuple[float, float]], sleeps: list[float]
) -> None:
    list(Backoff(3, first=1.0, least=0.5).tries())

    assert longest_draws == [(0.5, 1), (0.5, 1)]
    assert sleeps == [1.0, 1.0]


def test_without_a_first_wait_nothing_sleeps(sleeps: list[float]) -> None:
    assert list(Backoff(3).tries()) == [1, 2, 3]
    assert sleeps == []


def test_call_returns_the_first_result_without_an_error(sleeps: list[float]) -> None:
    answers = iter([Refused(), Refused(), "done"])

    def act() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert Backoff(3, first=0.01).call(act, on=Refused) == "done"
    assert len(sleeps) == 2


def test_call_raises_the_last_error_and_any_other_at_once(sleeps: list[float]) -> None:
    def refuse() -> None:
        raise Refused

    def crash() -> None:
        raise ValueError("crashed")

    with pytest.raises(Refused):
        Backoff(3, first=0.01).call(refuse, on=Refused)
    with pytest.raises(ValueError, match="crashed"):
        Backoff(3, first=0.01).call(crash, on=Refused)
    assert len(sleeps) == 2
