"""Killed at every call to the outside, before it and after it: table, queue, CloudWatch, sockets.

Then time passes, tasks come back after their 360 seconds, a push after one minute and two, and the
sweeper comes each minute: every line has reached every viewer that stayed, the counts are exact,
and minutes after the last viewer there is no filter and no item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatehouse.core.clock import SECOND
from support.aws.faults import Killed
from support.worlds.live_logs import Lookout

MOST_CALLS = 60


@dataclass(frozen=True)
class Case:
    """What is done and killed; who stays, and from which line on each has to have all."""

    act: Callable[[], Any]
    stay: dict[str, str] = field(default_factory=dict)


Prepare = Callable[[Lookout], Case]


def _connect(lookout: Lookout) -> Case:
    lookout.connect("stays", lines=0)
    lookout.run(3)
    lookout.write("first")
    lookout.run(20)
    return Case(lambda: lookout.connect("new"), {"stays": "first"})


def _open(lookout: Lookout) -> Case:
    lookout.write("backlog")
    lookout.run(20)
    lookout.connect("one")
    lookout.write("meanwhile")
    return Case(lookout.take, {"one": "backlog"})


def _open_without_backlog(lookout: Lookout) -> Case:
    lookout.write("old")
    lookout.run(20)
    lookout.connect("one", lines=0)
    lookout.write("meanwhile")
    return Case(lookout.take, {"one": "meanwhile"})


def _open_of_a_second(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(30)
    lookout.connect("two")
    lookout.write("held")
    lookout.held.advance(seconds=1)
    lookout.push()
    return Case(lookout.take, {"one": "first", "two": "first"})


def _first_push(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.filter_takes = 5
    lookout.run(3)
    lookout.write("before the filter")
    lookout.held.advance(seconds=3)
    lookout.write("pushed")
    lookout.held.advance(seconds=1)
    return Case(lookout.push, {"one": "before the filter"})


def _first_push_after_the_polls(lookout: Lookout) -> Case:
    lookout.filter_takes = 80
    lookout.connect("one", lines=0)
    lookout.run(75)
    lookout.write("in the gap")
    lookout.run(10)
    lookout.write("pushed")
    lookout.held.advance(seconds=1)
    return Case(lookout.push, {"one": "in the gap"})


def _push(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.connect("two", lines=0)
    lookout.connect("gone", lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(30)
    lookout.open_sockets.open.pop("gone")
    lookout.write("second")
    lookout.held.advance(seconds=1)
    return Case(lookout.push, {"one": "first", "two": "first"})


def _push_that_is_held(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(30)
    lookout.connect("two", lines=0)
    lookout.write("held")
    lookout.held.advance(seconds=1)
    return Case(lookout.push, {"one": "first", "two": "held"})


def _poll(lookout: Lookout) -> Case:
    lookout.filter_takes = 30
    lookout.connect("one", lines=0)
    lookout.run(1)
    lookout.write("polled")
    lookout.held.advance(seconds=2)
    return Case(lookout.take, {"one": "polled"})


def _poll_that_asks_for_the_filter(lookout: Lookout) -> Case:
    lookout.cloudwatch.refuses["put_subscription_filter"] = "ThrottlingException"
    lookout.connect("one", lines=0)
    lookout.run(31)
    lookout.write("polled")
    lookout.cloudwatch.refuses.clear()
    return Case(lookout.take, {"one": "polled"})


def _last_poll(lookout: Lookout) -> Case:
    lookout.cloudwatch.lag = 9
    lookout.filter_takes = 4
    lookout.connect("one", lines=0)
    lookout.run(3)
    lookout.write("found late")
    lookout.held.advance(seconds=2)
    lookout.write("pushed")
    while lookout.pushes or not _is_last(lookout):
        lookout.run(1)
    return Case(lookout.take, {"one": "found late"})


def _is_last(lookout: Lookout) -> bool:
    watch = lookout.watch()
    assert watch is not None
    due = [at for at, body in lookout.tasks if '"poll"' in body]
    assert due
    at = watch.delivered_at
    return at is not None and min(due) >= (at + 9_000) * 1_000 and min(lookout.tasks)[0] == due[0]


def _catch_up(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(30)
    lookout.cloudwatch.lag = 5
    lookout.write("found late")
    lookout.run(2)
    lookout.connect("two")
    lookout.run(9)
    lookout.held.advance(seconds=1)
    assert "found late" not in lookout.messages("two")
    return Case(lookout.take, {"one": "first", "two": "first"})


def _disconnect(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.connect("leaves", lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(30)
    return Case(lambda: lookout.disconnect("leaves"), {"one": "first"})


def _disconnect_with_lines_held(lookout: Lookout) -> Case:
    case = _push_that_is_held(lookout)
    lookout.push()
    return Case(lambda: lookout.disconnect("two"), {"one": case.stay["one"]})


def _sweep(lookout: Lookout) -> Case:
    """Somebody to be pinged, somebody gone, a key that ended and a lost Open, all at once."""
    ended = lookout.make_key()
    lookout.connect("one", lines=0)
    lookout.connect("ended", lines=0, key=ended)
    lookout.connect("gone", lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(20)
    lookout.held.advance(seconds=220)
    lookout.connect("lost", lines=0)
    lookout.write("while it is lost")
    lookout.tasks.clear()
    lookout.open_sockets.open.pop("gone")
    lookout.tables.keys.client.delete_item(
        TableName=lookout.tables.keys.name, Key={"pk": {"S": f"KEY#{ended.digest}"}}
    )
    lookout.held.advance(seconds=61)
    return Case(lookout.sweep, {"one": "first", "lost": "while it is lost"})


def _sweep_of_a_dead_chain(lookout: Lookout) -> Case:
    lookout.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    lookout.connect("one", lines=0)
    lookout.run(5)
    lookout.tasks.clear()
    lookout.write("while it is dead")
    lookout.cloudwatch.refuses.clear()
    lookout.held.advance(seconds=61)
    return Case(lookout.sweep, {"one": "while it is dead"})


def _sweep_that_takes_a_filter(lookout: Lookout) -> Case:
    lookout.connect("one", lines=0)
    lookout.run(5)
    lookout.disconnect("one")
    lookout.run(50)
    lookout.held.advance(seconds=90)
    return Case(lookout.sweep)


CASES: list[Prepare] = [_open, _first_push, _poll]
MORE_CASES: list[Prepare] = [
    _connect,
    _open_without_backlog,
    _open_of_a_second,
    _first_push_after_the_polls,
    _push,
    _push_that_is_held,
    _poll_that_asks_for_the_filter,
    _last_poll,
    _catch_up,
    _disconnect,
    _disconnect_with_lines_held,
    _sweep,
    _sweep_of_a_dead_chain,
    _sweep_that_takes_a_filter,
]


def _named(prepare: Prepare) -> str:
    return prepare.__name__.strip("_").replace("_", " ")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "prepare",
    [*CASES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_CASES)],
    ids=_named,
)
def test_a_death_at_any_call_loses_no_line_and_leaves_nothing(
    lookout: Lookout, prepare: Prepare, when: str
) -> None:
    deaths, start = 0, lookout.held.at
    for number in range(1, MOST_CALLS):
        lookout.held.at = start  # CloudWatch takes no lines of hours to come
        _begin(lookout, number)
        case = prepare(lookout)
        died = _dies(lookout, when, number, case.act)
        deaths += died
        _finish(lookout, case)
        if not died:
            break
    else:
        pytest.fail("it never came to an end")
    assert deaths >= 2, "it was killed at least twice"


def _begin(lookout: Lookout, number: int) -> None:
    lookout.turn_to(f"service-{number}")
    lookout.tasks.clear()
    lookout.pushes.clear()
    lookout.open_sockets.open.clear()
    lookout.cloudwatch.lag = lookout.filter_takes = 0
    lookout.cloudwatch.refuses.clear()
    lookout.swept_at = lookout.held.at


def _dies(lookout: Lookout, when: str, number: int, act: Callable[[], Any]) -> bool:
    doom = lookout.doom
    doom.calls, doom.when, doom.at, doom.armed = 0, when, number, True
    try:
        act()
    except Killed:
        return True
    finally:
        doom.at, doom.armed = None, False
    return False


def _finish(lookout: Lookout, case: Case) -> None:
    for number in range(4):
        lookout.write(f"after {number}")
        lookout.run(60)
    lookout.run(130)  # a push comes for the last time after three minutes
    written = [line for lines in lookout.written.values() for line in lines]
    for name, first in case.stay.items():
        missing = set(written[written.index(first) :]) - set(lookout.messages(name))
        assert not missing, (name, missing)
    there = set(lookout.open_sockets.open)
    assert lookout.counts() == (len(there), len(there))
    for name in sorted(there):
        lookout.disconnect(name)
    lookout.run(5 * 60)
    assert lookout.filters() == []
    assert lookout.left() == []
    assert lookout.counts() == (0, 0)
    held = [item for item in lookout.all_items() if item["pk"].startswith("HELD#")]
    assert all(item["ttl"] * SECOND <= lookout.held.at + 3 * 3600 * SECOND for item in held)
