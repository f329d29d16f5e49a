"""Deciding about a key: table calls, the memory's hints, and the limit across environments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.credentials import actions as credentials
from gatehouse.credentials import writes
from gatehouse.credentials.actions import UNLIMITED, Memory
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys.model import KeyPatch
from support.actors.visitor import Visitor, key_request, visitor
from support.aws.faults import Wire, error, first, wire


@pytest.fixture
def caller(tables: Tables) -> Visitor:
    return visitor(tables)


def _unlimited(caller: Visitor) -> str:
    """Create a key without a limit, which only a caller without one can do."""
    free = caller.unlimited()
    return keys.create(caller.tables, free.call(), key_request(rate_limit=None)).secret


def test_a_malformed_key_costs_no_table_call(caller: Visitor, room_line: Wire) -> None:
    for key in ("", "hk_", "hk_" + "0" * 72, "x" * 10_000, caller.minted.secret.upper()):
        assert caller.admit(key).code is Code.NOT_FOUND
        assert credentials.find(caller.tables.keys, key) is None
    assert room_line.calls == []


def test_an_unknown_key_costs_one_table_call(caller: Visitor, room_line: Wire) -> None:
    fresh = writes.mint("hk")
    assert caller.admit(fresh.text).code is Code.NOT_FOUND
    assert room_line.calls == ["UpdateItem"]


def test_a_limited_key_costs_one_table_call(caller: Visitor, room_line: Wire) -> None:
    memory = Memory()
    caller.now += MINUTE
    for step in (0, 1, SECOND, MINUTE, 2 * MINUTE):
        caller.now += step
        room_line.clear()
        assert caller.admit(caller.minted.secret, memory).code is Code.VALID
        assert room_line.calls == ["UpdateItem"]


def test_an_unlimited_key_costs_one_read_and_one_write_a_minute(
    caller: Visitor, room_line: Wire
) -> None:
    key, memory = _unlimited(caller), Memory()
    room_line.clear()
    assert caller.admit(key, memory).code is Code.VALID
    assert room_line.calls == ["UpdateItem", "UpdateItem"], (
        "first seen: a try to spend, then the write of its last use"
    )
    for step, calls in (
        (0, ["GetItem"]),
        (MINUTE - 1, ["GetItem"]),
        (1, ["GetItem", "UpdateItem"]),
        (1, ["GetItem"]),
    ):
        caller.now += step
        room_line.clear()
        verdict = caller.admit(key, memory)
        assert (verdict.code, verdict.limit_state) == (Code.VALID, None)
        assert room_line.calls == calls


@pytest.mark.parametrize(
    "code",
    ["ConditionalCheckFailedException", "TransactionConflictException", "ThrottlingException"],
)
def test_a_key_is_valid_even_if_its_last_use_cannot_be_written(
    caller: Visitor, room_line: Wire, code: str
) -> None:
    key, memory = _unlimited(caller), Memory()
    caller.admit(key, memory)
    caller.now += MINUTE
    room_line.before = first(1, lambda: error(code), "UpdateItem")
    assert caller.admit(key, memory).code is Code.VALID


def test_a_wrong_hint_costs_a_second_call_but_not_a_wrong_verdict(
    caller: Visitor, room_line: Wire
) -> None:
    free = caller.unlimited()
    minted = keys.create(caller.tables, free.call(), key_request(rate_limit=60))
    memory = Memory()
    caller.admit(minted.secret, memory)
    for limit in (None, 2, None, 60_000, 1):
        keys.patch(caller.tables, free.call(), minted.key.id, KeyPatch(rate_limit=limit))
        caller.now += 5 * MINUTE
        free.now = caller.now
        room_line.clear()
        verdict = caller.admit(minted.secret, memory)
        assert verdict.code is Code.VALID
        assert (verdict.limit_state is None) == (limit is None)
        assert len(room_line.calls) <= 2


def test_four_conflicts_are_retried_and_the_fifth_is_503(
    caller: Visitor, room_line: Wire, sleeps: list[float]
) -> None:
    conflict = lambda: error("TransactionConflictException")  # noqa: E731
    room_line.before = first(4, conflict)
    assert caller.admit(caller.minted.secret).code is Code.VALID
    assert len(sleeps) == 4
    assert sum(sleeps) <= 0.060
    room_line.before = first(5, conflict)
    with pytest.raises(Unavailable):
        caller.admit(caller.minted.secret)


def test_a_memory_is_bounded_and_drops_the_oldest_key(caller: Visitor) -> None:
    verdict = caller.admit(caller.minted.secret)
    memory = Memory(most=3)
    for number in range(10):
        memory.remember(replace(verdict.credential, digest=str(number)))
        memory.remember(replace(verdict.credential, digest="recent"))
    known = [digest for digest in (*map(str, range(10)), "recent") if memory.recall(digest)]
    assert known == ["8", "9", "recent"]
    memory.remember(replace(verdict.credential, digest="free", rate_limit=None))
    assert memory.recall("free") == UNLIMITED
    memory.remember(replace(verdict.credential, digest="new", tat=None))
    assert memory.recall("new") is None


def test_the_memory_of_an_environment_holds_ten_thousand_keys() -> None:
    assert Memory()._most == 10_000  # noqa: SLF001 - a published bound


steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([0, 1, 999_999, SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 3 * MINUTE]),
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(limit=st.sampled_from([1, 2, 3, 6, 60]), steps=steps)
def test_the_limit_is_exact_across_environments_in_two_calls_each(
    tables: Tables, limit: int, steps: list[tuple[int, int]]
) -> None:
    """Compared with the documented bound: in t seconds at most limit + t * limit / 60 requests
    pass, and every request that the bound allows is admitted.
    """
    caller = visitor(tables)
    key = keys.create(tables, caller.call(), key_request(rate_limit=limit)).secret
    memories = [Memory() for _ in range(4)]
    interval = -(-MINUTE // limit)
    tat = 0
    with wire(tables.keys.client) as line:
        for environment, step in steps:
            caller.now += step
            line.clear()
            verdict = caller.admit(key, memories[environment])
            assert len(line.calls) <= 2
            ahead = max(tat, caller.now) + interval - caller.now
            if ahead > limit * interval:
                assert verdict.code is Code.RATE_LIMITED
                wait = ahead - limit * interval
                assert verdict.limit_state.retry_after == -(-wait // SECOND)
            else:
                assert verdict.code is Code.VALID
                tat = caller.now + ahead
                assert verdict.limit_state.remaining == limit - -(-ahead // interval)


@pytest.mark.parametrize("old", [1, 2, 60, 60_000])
@pytest.mark.parametrize("new", [1, 2, 60, 60_000])
def test_a_changed_limit_counts_the_requests_already_spent(
    caller: Visitor, old: int, new: int
) -> None:
    free = caller.unlimited()
    minted = keys.create(caller.tables, free.call(), key_request(rate_limit=old))
    memory = Memory()
    for _ in range(min(old, 20)):
        assert caller.admit(minted.secret, memory).code is Code.VALID
    keys.patch(caller.tables, free.call(), minted.key.id, KeyPatch(rate_limit=new))
    used = min(old, 20) * -(-MINUTE // old)  # microseconds of the minute that are spent
    interval = -(-MINUTE // new)
    expected = max(0, (new * interval - used) // interval)
    passed = 0
    while passed <= 25 and caller.admit(minted.secret, memory).code is Code.VALID:
        passed += 1
    assert passed == min(26, expected)
