"""Live logs killed before and after every call to the table, the queue, CloudWatch and sockets.

Afterwards SQS repeats tasks after 360 seconds, Lambda retries a push after one and two minutes, and
the sweep runs each minute. Then every viewer that stayed has every line, the counts are exact, and
no filter or item is left some minutes after the last viewer disconnects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatehouse.core.clock import SECOND
from support.aws.faults import Killed
from support.worlds.live_logs import LiveLogs

MOST_CALLS = 60


@dataclass(frozen=True)
class Case:
    """The act to kill, and the viewers that stay: name → first line that each must have."""

    act: Callable[[], Any]
    stay: dict[str, str] = field(default_factory=dict)


Prepare = Callable[[LiveLogs], Case]


def _connect(live_logs: LiveLogs) -> Case:
    live_logs.connect("stays", lines=0)
    live_logs.run(3)
    live_logs.write("first")
    live_logs.run(20)
    return Case(lambda: live_logs.connect("new"), {"stays": "first"})


def _open(live_logs: LiveLogs) -> Case:
    live_logs.write("backlog")
    live_logs.run(20)
    live_logs.connect("one")
    live_logs.write("meanwhile")
    return Case(live_logs.take, {"one": "backlog"})


def _open_without_backlog(live_logs: LiveLogs) -> Case:
    live_logs.write("old")
    live_logs.run(20)
    live_logs.connect("one", lines=0)
    live_logs.write("meanwhile")
    return Case(live_logs.take, {"one": "meanwhile"})


def _open_of_a_second(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)
    live_logs.connect("two")
    live_logs.write("held")
    live_logs.held.advance(seconds=1)
    live_logs.push()
    return Case(live_logs.take, {"one": "first", "two": "first"})


def _first_push(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.filter_takes = 5
    live_logs.run(3)
    live_logs.write("before the filter")
    live_logs.held.advance(seconds=3)
    live_logs.write("pushed")
    live_logs.held.advance(seconds=1)
    return Case(live_logs.push, {"one": "before the filter"})


def _first_push_after_the_polls(live_logs: LiveLogs) -> Case:
    live_logs.filter_takes = 80
    live_logs.connect("one", lines=0)
    live_logs.run(75)
    live_logs.write("in the gap")
    live_logs.run(10)
    live_logs.write("pushed")
    live_logs.held.advance(seconds=1)
    return Case(live_logs.push, {"one": "in the gap"})


def _push(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.connect("two", lines=0)
    live_logs.connect("gone", lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)
    live_logs.open_sockets.open.pop("gone")
    live_logs.write("second")
    live_logs.held.advance(seconds=1)
    return Case(live_logs.push, {"one": "first", "two": "first"})


def _push_during_a_backlog(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)
    live_logs.connect("two", lines=0)
    live_logs.write("held")
    live_logs.held.advance(seconds=1)
    return Case(live_logs.push, {"one": "first", "two": "held"})


def _poll(live_logs: LiveLogs) -> Case:
    live_logs.filter_takes = 30
    live_logs.connect("one", lines=0)
    live_logs.run(1)
    live_logs.write("polled")
    live_logs.held.advance(seconds=2)
    return Case(live_logs.take, {"one": "polled"})


def _poll_that_asks_for_the_filter(live_logs: LiveLogs) -> Case:
    live_logs.cloudwatch.refuses["put_subscription_filter"] = "ThrottlingException"
    live_logs.connect("one", lines=0)
    live_logs.run(31)
    live_logs.write("polled")
    live_logs.cloudwatch.refuses.clear()
    return Case(live_logs.take, {"one": "polled"})


def _last_poll(live_logs: LiveLogs) -> Case:
    live_logs.cloudwatch.lag = 9
    live_logs.filter_takes = 4
    live_logs.connect("one", lines=0)
    live_logs.run(3)
    live_logs.write("found late")
    live_logs.held.advance(seconds=2)
    live_logs.write("pushed")
    while live_logs.pushes or not _is_last(live_logs):
        live_logs.run(1)
    return Case(live_logs.take, {"one": "found late"})


def _is_last(live_logs: LiveLogs) -> bool:
    watch = live_logs.watch()
    assert watch is not None
    due = [at for at, body in live_logs.tasks if '"poll"' in body]
    assert due
    at = watch.delivered_at
    return at is not None and min(due) >= (at + 9_000) * 1_000 and min(live_logs.tasks)[0] == due[0]


def _catch_up(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)
    live_logs.cloudwatch.lag = 5
    live_logs.write("found late")
    live_logs.run(2)
    live_logs.connect("two")
    live_logs.run(9)
    live_logs.held.advance(seconds=1)
    assert "found late" not in live_logs.messages("two")
    return Case(live_logs.take, {"one": "first", "two": "first"})


def _disconnect(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.connect("leaves", lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)
    return Case(lambda: live_logs.disconnect("leaves"), {"one": "first"})


def _disconnect_with_held_lines(live_logs: LiveLogs) -> Case:
    case = _push_during_a_backlog(live_logs)
    live_logs.push()
    return Case(lambda: live_logs.disconnect("two"), {"one": case.stay["one"]})


def _sweep(live_logs: LiveLogs) -> Case:
    """A viewer due for a ping, a gone one, a deleted key and a lost Open task at once."""
    ended = live_logs.make_key()
    live_logs.connect("one", lines=0)
    live_logs.connect("ended", lines=0, key=ended)
    live_logs.connect("gone", lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(20)
    live_logs.held.advance(seconds=220)
    live_logs.connect("lost", lines=0)
    live_logs.write("while it is lost")
    live_logs.tasks.clear()
    live_logs.open_sockets.open.pop("gone")
    live_logs.tables.keys.client.delete_item(
        TableName=live_logs.tables.keys.name, Key={"pk": {"S": f"KEY#{ended.digest}"}}
    )
    live_logs.held.advance(seconds=61)
    return Case(live_logs.sweep, {"one": "first", "lost": "while it is lost"})


def _sweep_of_a_dead_chain(live_logs: LiveLogs) -> Case:
    live_logs.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    live_logs.connect("one", lines=0)
    live_logs.run(5)
    live_logs.tasks.clear()
    live_logs.write("while it is dead")
    live_logs.cloudwatch.refuses.clear()
    live_logs.held.advance(seconds=61)
    return Case(live_logs.sweep, {"one": "while it is dead"})


def _sweep_that_deletes_a_filter(live_logs: LiveLogs) -> Case:
    live_logs.connect("one", lines=0)
    live_logs.run(5)
    live_logs.disconnect("one")
    live_logs.run(50)
    live_logs.held.advance(seconds=90)
    return Case(live_logs.sweep)


CASES: list[Prepare] = [_open, _first_push, _poll]
MORE_CASES: list[Prepare] = [
    _connect,
    _open_without_backlog,
    _open_of_a_second,
    _first_push_after_the_polls,
    _push,
    _push_during_a_backlog,
    _poll_that_asks_for_the_filter,
    _last_poll,
    _catch_up,
    _disconnect,
    _disconnect_with_held_lines,
    _sweep,
    _sweep_of_a_dead_chain,
    _sweep_that_deletes_a_filter,
]


def _named(prepare: Prepare) -> str:
    return prepare.__name__.strip("_").replace("_", " ")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "prepare",
    [*CASES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_CASES)],
    ids=_named,
)
def test_a_crash_at_any_call_loses_no_line_and_leaves_no_item(
    live_logs: LiveLogs, prepare: Prepare, when: str
) -> None:
    kills, start = 0, live_logs.held.at
    for number in range(1, MOST_CALLS):
        live_logs.held.at = start  # CloudWatch refuses lines dated hours ahead
        _begin(live_logs, number)
        case = prepare(live_logs)
        killed = _kill(live_logs, when, number, case.act)
        kills += killed
        _finish(live_logs, case)
        if not killed:
            break
    else:
        pytest.fail(f"{MOST_CALLS} calls and not finished")
    assert kills >= 2, "fewer than two calls were killed"


def _begin(live_logs: LiveLogs, number: int) -> None:
    live_logs.use_service(f"service-{number}")
    live_logs.tasks.clear()
    live_logs.pushes.clear()
    live_logs.open_sockets.open.clear()
    live_logs.cloudwatch.lag = live_logs.filter_takes = 0
    live_logs.cloudwatch.refuses.clear()
    live_logs.swept_at = live_logs.held.at


def _kill(live_logs: LiveLogs, when: str, number: int, act: Callable[[], Any]) -> bool:
    kill_switch = live_logs.kill_switch
    kill_switch.calls, kill_switch.when, kill_switch.at, kill_switch.armed = 0, when, number, True
    try:
        act()
    except Killed:
        return True
    finally:
        kill_switch.at, kill_switch.armed = None, False
    return False


def _finish(live_logs: LiveLogs, case: Case) -> None:
    for number in range(4):
        live_logs.write(f"after {number}")
        live_logs.run(60)
    live_logs.run(130)  # the last retry of a push is after three minutes
    written = [line for lines in live_logs.written.values() for line in lines]
    for name, first in case.stay.items():
        missing = set(written[written.index(first) :]) - set(live_logs.messages(name))
        assert not missing, (name, missing)
    there = set(live_logs.open_sockets.open)
    assert live_logs.counts() == (len(there), len(there))
    for name in sorted(there):
        live_logs.disconnect(name)
    live_logs.run(5 * 60)
    assert live_logs.filters() == []
    assert live_logs.remaining_items() == []
    assert live_logs.counts() == (0, 0)
    held = [item for item in live_logs.all_items() if item["pk"].startswith("HELD#")]
    assert all(item["ttl"] * SECOND <= live_logs.held.at + 3 * 3600 * SECOND for item in held)
