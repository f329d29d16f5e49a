"""A changed identity is copied into every key, in spite of crashes and repeats.

The change and its marker are one transaction; each key is updated by a write of its own. Whatever
crashes or runs in between, after the sweeper ran both items of every key agree, and each key has
a copy of its identity as it is now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.core.errors import (
    Unavailable,
)
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.identities import actions as identities
from support.actors.members import (
    change,
    identity_of,
    identity_patch,
    sweep,
)
from support.aws.faults import Killed, Wire, die_at, error, first
from support.checks.invariants import check_invariants
from support.worlds.member_with_keys import CHANGES, MOST_CALLS, NARROW, Cast, _crash, commit_only


@pytest.fixture(scope="module")
def whole_cast(stack: Tables) -> Cast:
    return Cast(stack)


@pytest.fixture
def cast(whole_cast: Cast) -> Cast:
    whole_cast.restore()
    return whole_cast


@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
def test_the_sweeper_completes_a_change_that_crashed_at_any_call(
    cast: Cast, line: Wire, fields: dict[str, Any]
) -> None:
    """Crashes after each call. A crash before a call equals one after the call before it."""
    completed = 0
    before = identity_of(cast.target)
    for number in range(1, MOST_CALLS):
        cast.restore()
        line.clear()
        line.after = die_at(number)
        try:
            cast.change(**fields)
        except Killed:
            pass
        else:
            break
        finally:
            line.clear()
        after = identity_of(cast.target)
        assert after in {before, identities.patched(before, identity_patch(**fields))}
        check_invariants(cast.tables, now=cast.now)
        swept = sweep(cast.tables, cast.now)
        assert swept in ({0, 1} if after != before else {0})
        completed += swept
        cast.settle()
        if "status" in fields and after != before:
            assert cast.codes() == {Code.DISABLED}
    else:
        pytest.fail(f"it still makes more than {MOST_CALLS} calls")
    assert completed >= len(cast.keys), "it must crash at least once per key"
    cast.settle()


@pytest.mark.usefixtures("sleeps")
def test_repeating_a_crashed_change_completes_it(cast: Cast, line: Wire) -> None:
    for number in range(1, MOST_CALLS):
        cast.restore()
        line.clear()
        line.after = die_at(number)
        try:
            cast.change(status="suspended", ceiling=NARROW)
        except Killed:
            line.clear()
            cast.change(status="suspended", ceiling=NARROW)
            assert cast.codes() == {Code.DISABLED}
            cast.settle()
        else:
            break
        finally:
            line.clear()


@pytest.mark.usefixtures("sleeps")
def test_a_key_that_is_busy_is_updated_on_a_retry(cast: Cast, line: Wire) -> None:
    line.before = first(3, lambda: error("TransactionConflictException"), "UpdateItem")
    cast.change(status="suspended")
    line.clear()
    assert cast.codes() == {Code.DISABLED}
    cast.settle()


@pytest.mark.usefixtures("sleeps")
def test_a_key_that_stays_busy_is_503_and_left_to_the_sweeper(cast: Cast, line: Wire) -> None:
    line.before = first(1_000, lambda: error("TransactionConflictException"), "UpdateItem")
    with pytest.raises(Unavailable):
        cast.change(status="suspended")
    line.clear()
    assert sweep(cast.tables, cast.now) == 1
    assert cast.codes() == {Code.DISABLED}
    cast.settle()


def test_an_identity_that_fails_does_not_stop_the_others(cast: Cast, line: Wire) -> None:
    commit_only(cast, line, status="suspended")
    line.after = first(1, _crash, "TransactWriteItems")
    with pytest.raises(Killed):
        change(cast.admin, cast.bystander, status="suspended")
    line.clear()
    line.before = _second_query()
    with pytest.raises(Unavailable):
        sweep(cast.tables, cast.now)
    line.clear()
    verdicts = [cast.admin.admit(one.minted.secret).code for one in (cast.target, cast.bystander)]
    assert Code.DISABLED in verdicts
    assert sweep(cast.tables, cast.now) == 1


def _second_query() -> Callable[[int, str], Any]:
    """Return a plan in which the second query fails: that of the first identity's keys."""
    queries = 0

    def plan(_: int, operation: str) -> Any:
        nonlocal queries
        queries += operation == "Query"
        return error("ThrottlingException") if queries == 2 and operation == "Query" else None

    return plan
