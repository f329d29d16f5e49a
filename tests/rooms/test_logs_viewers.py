"""Viewers of live logs: repeated and late tasks, how many there may be, and how they end."""

from __future__ import annotations

import pytest

from gatehouse.core.errors import BoundReached, NotFound, Unavailable
from gatehouse.logs import message_rules, relay, rules, store, watch_store
from gatehouse.logs.model import CatchUp, Line, Open, Poll
from support.worlds.live_logs import ACCOUNT, LiveLogs

FILLER = [f"before {number}" for number in range(20)]


def live(live_logs: LiveLogs, *names: str) -> None:
    """Open sockets, and wait until the filter delivers."""
    for name in names:
        live_logs.connect(name, lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)


def test_a_repeated_open_task_sends_no_second_backlog(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(5)
    live_logs.connect("one")
    body = live_logs.tasks[0][1]
    live_logs.run(1)
    before = len(live_logs.lines("one"))
    live_logs.tasks.append((live_logs.held.at, body))
    live_logs.run(0)
    assert len(live_logs.lines("one")) == before


def test_tasks_for_a_disconnected_viewer_do_nothing(live_logs: LiveLogs) -> None:
    live_logs.write("old")
    for task in (
        Open(live_logs.group, "nobody"),
        Poll(live_logs.group, 7),
        CatchUp(live_logs.group, "nobody", 0, live_logs.held.at // 1000, ()),
    ):
        assert relay.work(live_logs.relay, relay.parse_task(message_rules.task_body(task))) == 0
    assert live_logs.remaining_items() == []


def test_a_socket_that_never_opens_is_removed(live_logs: LiveLogs) -> None:
    live_logs.connect("one")
    live_logs.open_sockets.open.pop("one")
    live_logs.run(1)
    assert live_logs.counts() == (0, 0)
    assert 5 <= live_logs.time.at < 6


def test_a_socket_that_opens_late_gets_its_backlog(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_logs.write("old")
    live_logs.connect("one")
    live_logs.open_sockets.open.pop("one")
    sleep = live_logs.time.sleep

    def sleep_and_open(seconds: float) -> None:
        sleep(seconds)
        if live_logs.time.at > 3:
            live_logs.open_sockets.open.setdefault("one", [])

    monkeypatch.setattr(live_logs.time, "sleep", sleep_and_open)
    live_logs.run(1)
    assert live_logs.messages("one") == ["old"]


def test_a_catch_up_sends_lines_that_the_search_found_late(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.write("early", stream="b")
    live_logs.run(5)
    live_logs.cloudwatch.lag = 4
    live_logs.write("late", stream="c")
    live_logs.run(1)
    live_logs.write("later", stream="c")
    live_logs.run(2)
    live_logs.connect("new")
    live_logs.run(0)
    assert "late" not in live_logs.messages("new"), (
        "pushed before the viewer connected, and not searchable yet"
    )
    live_logs.run(15)
    assert {"late", "later"} <= set(live_logs.messages("new"))


def test_a_catch_up_message_stays_below_the_queue_s_limit() -> None:
    lines = [Line(f"{number:013d}-{number:016x}-999999", number, "x") for number in range(20_000)]
    known = rules.ids_to_remember([], lines, cursor=10_000)
    task = CatchUp("/g" * 250, "c" * 16, 0, 1, known)
    assert len(message_rules.task_body(task)) < 256 * 1024


def test_a_group_has_at_most_100_viewers_and_an_account_200(live_logs: LiveLogs) -> None:
    for number in range(100):
        live_logs.connect(f"one {number}", lines=0)
    with pytest.raises(BoundReached, match="A log group has at most 100"):
        live_logs.connect("too many")
    live_logs.use_service("billing")
    for number in range(100):
        live_logs.connect(f"two {number}", lines=0)
    live_logs.use_service("third")
    with pytest.raises(BoundReached, match="An account has at most 200"):
        live_logs.connect("too many")
    assert live_logs.counts() == (0, 200)
    live_logs.disconnect("two 5")
    live_logs.connect("again")
    assert live_logs.counts() == (1, 200)
    live_logs.disconnect("again")
    live_logs.disconnect("again")
    assert live_logs.counts() == (0, 199)


def test_adding_a_viewer_twice_counts_it_once(live_logs: LiveLogs) -> None:
    live_logs.connect("one")
    [viewer] = store.list_viewers(live_logs.table, live_logs.group)
    store.add_viewer(live_logs.table, viewer)
    assert live_logs.counts() == (1, 1)


def test_a_viewer_refused_because_the_queue_is_down_is_not_counted(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(type(live_logs.relay.queue), "send", unavailable)
    with pytest.raises(Unavailable):
        live_logs.connect("one")
    assert live_logs.counts() == (0, 0)
    live_logs.run(180)
    assert live_logs.remaining_items() == []


def test_connecting_to_a_service_without_a_log_group_raises_not_found(live_logs: LiveLogs) -> None:
    live_logs.table.update(
        {"pk": f"SERVICE#{ACCOUNT}", "sk": "orders"},
        "SET log_group = :none",
        condition="attribute_exists(pk)",
        names={},
        values={":none": ""},
    )
    with pytest.raises(NotFound):
        live_logs.connect("one")


def test_polls_do_not_recreate_a_deleted_watch(live_logs: LiveLogs) -> None:
    live_logs.connect("one")
    seen = live_logs.watch()
    assert seen is not None
    live_logs.disconnect("one")
    watch_store.delete_unused(live_logs.table, live_logs.group)
    assert live_logs.watch() is None
    at = live_logs.held.at
    assert (
        watch_store.start_polls(live_logs.table, seen, since=0, cursor=0, seen=(), now=at) is None
    )
    assert watch_store.list_all(live_logs.table) == []
