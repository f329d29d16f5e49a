"""Counters of live things: exact, never above the bound, corrected when the bound is reached."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.dynamo import counters
from gatehouse.dynamo.table import (
    ConditionFailed,
    Table,
    Tables,
    TransactionCanceled,
    Write,
    transact,
)

MOST = 3
_numbers = itertools.count()


def done(table: Table, write: Write) -> bool:
    try:
        transact(table.client, [write])
    except TransactionCanceled:
        return False
    return True


def item(table: Table, pk: str) -> dict[str, int]:
    found = table.get({"pk": f"{pk}#COUNT", "sk": "COUNT"})
    assert found is not None
    return found


def test_a_counter_that_was_never_written_is_zero(tables: Tables) -> None:
    assert counters.read(tables.main, "KEYS#a") == 0
    assert not done(tables.main, counters.move(tables.main, "KEYS#a", by=-1, most=MOST))
    assert not done(tables.main, counters.leave_one(tables.main, "KEYS#a"))
    assert counters.read(tables.main, "KEYS#a") == 0


def test_the_first_is_counted_once(tables: Tables) -> None:
    assert done(tables.main, counters.begin(tables.main, "IDENTITY#a"))
    assert not done(tables.main, counters.begin(tables.main, "IDENTITY#a"))
    assert counters.read(tables.main, "IDENTITY#a") == 1


def test_leave_one_never_counts_down_to_zero(tables: Tables) -> None:
    table = tables.main
    assert done(table, counters.begin(table, "IDENTITY#a"))
    assert not done(table, counters.leave_one(table, "IDENTITY#a"))
    assert done(table, counters.move(table, "IDENTITY#a", by=1, most=MOST))
    assert done(table, counters.leave_one(table, "IDENTITY#a"))
    assert not done(table, counters.leave_one(table, "IDENTITY#a"))
    assert counters.read(table, "IDENTITY#a") == 1


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from([1, 1, -1]), max_size=12))
def test_moves_are_counted_exactly_and_never_exceed_the_bound(
    tables: Tables, moves: list[int]
) -> None:
    table, pk, live = tables.main, f"KEYS#{next(_numbers)}", 0
    for by in moves:
        if by < 0 and live == 0:
            continue  # a thing that was never created cannot end
        moved = done(table, counters.move(table, pk, by=by, most=MOST))
        assert moved == (by < 0 or live < MOST)
        live += by if moved else 0
        assert counters.read(table, pk) == live


def test_a_correction_fails_if_the_counter_moved_meanwhile(tables: Tables) -> None:
    """Also if it went down and up again, so that the number is the same."""
    table, pk = tables.main, "KEYS#a"
    for _ in range(MOST):
        assert done(table, counters.move(table, pk, by=1, most=MOST))
    assert not done(table, counters.move(table, pk, by=1, most=MOST))
    seen = item(table, pk)
    assert done(table, counters.move(table, pk, by=-1, most=MOST))
    assert done(table, counters.move(table, pk, by=1, most=MOST))
    with pytest.raises(ConditionFailed):
        counters.correct(table, pk, seen=seen, to=1)
    assert counters.read(table, pk) == MOST
    counters.correct(table, pk, seen=item(table, pk), to=1)
    assert counters.read(table, pk) == 1


def test_a_refusal_at_the_bound_returns_the_counters_item(tables: Tables) -> None:
    table, pk = tables.main, "KEYS#a"
    assert done(table, counters.move(table, pk, by=1, most=1))
    with pytest.raises(TransactionCanceled) as refused:
        transact(table.client, [counters.move(table, pk, by=1, most=1)])
    assert refused.value.failed == {0: item(table, pk)}
