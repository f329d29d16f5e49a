"""The relay of live logs: a viewer's backlog, and the change from it to pushes."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.core.clock import SECOND, rfc3339
from gatehouse.logs import rules, subscription
from support.worlds.live_logs import LiveLogs

FILLER = [f"before {number}" for number in range(20)]


def test_a_viewer_gets_its_backlog_and_then_new_lines(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(30)
    live_logs.connect("one")
    live_logs.run(1)
    assert live_logs.messages("one") == FILLER
    for number in range(30):
        live_logs.write(f"live {number}")
        live_logs.run(3)
    live_logs.check("one")
    assert len(live_logs.filters()) == 1


def test_lines_sets_the_backlog_length_and_zero_sends_an_empty_frame(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(30)
    live_logs.connect("few", lines=5)
    live_logs.connect("none", lines=0)
    live_logs.run(15)
    assert live_logs.messages("few") == FILLER[-5:]
    assert live_logs.open_sockets.open["none"] == [
        {"type": "log", "service": "orders", "lines": []}
    ]


def test_lines_written_before_the_open_task_are_sent(live_logs: LiveLogs) -> None:
    live_logs.write("old")
    live_logs.run(1)
    live_logs.connect("one", lines=0)
    live_logs.held.advance(seconds=2)
    live_logs.write("meanwhile")
    live_logs.held.advance(seconds=2)
    live_logs.run(20)
    assert live_logs.messages("one") == ["meanwhile"]


@pytest.mark.parametrize("by", ["id", "moment", "moment with an offset"])
def test_resuming_from_an_id_or_a_timestamp_loses_no_line(live_logs: LiveLogs, by: str) -> None:
    live_logs.connect("one", lines=0)
    live_logs.run(5)
    for number in range(12):
        live_logs.write(f"line {number}")
        live_logs.run(5)
    last = live_logs.lines("one")[6]
    since = last["id"] if by == "id" else last["timestamp"]
    if by == "moment with an offset":
        since = since.replace("Z", " 00:00")  # an unescaped plus
    live_logs.disconnect("one")
    live_logs.run(300)
    live_logs.connect("again", since=since)
    live_logs.run(5)
    live_logs.write("new")
    live_logs.run(5)
    live_logs.check("again", first=last["message"])


def test_a_resume_over_the_limit_closes_and_the_next_since_continues(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live lines sent after a partial answer would make the next since skip the rest."""
    monkeypatch.setattr(rules, "MOST_RESUMED", 50)
    monkeypatch.setattr("gatehouse.logs.history._MOST_PAGES", 2)
    monkeypatch.setattr("gatehouse.logs.history._PAGE", 25)
    for number in range(120):
        live_logs.write(f"line {number}")
        live_logs.run(1)
    since, got = rfc3339(live_logs.held.at - 130 * SECOND), []
    for turn in range(10):
        name = f"turn {turn}"
        live_logs.connect(name, since=since)
        frames = live_logs.open_sockets.open[name]
        live_logs.run(1)
        lines = [line for frame in frames for line in frame.get("lines", ())]
        got += [line["message"] for line in lines if line["message"] not in got]
        if name in live_logs.open_sockets.open:
            break
        assert frames[-1]["type"] == "exit"
        assert "since" in frames[-1]["reason"]
        since = lines[-1]["id"]
    assert turn >= 2
    assert got == live_logs.written["a"]
    assert live_logs.counts() == (1, 1)


def test_resuming_from_1970_sends_every_line(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(5)
    live_logs.connect("one", since="1970-01-01T00:00:00Z")
    live_logs.run(1)
    live_logs.check("one")


def test_a_missing_log_group_is_polled_until_it_exists(live_logs: LiveLogs) -> None:
    client = live_logs.cloudwatch._real  # noqa: SLF001
    client.delete_log_group(logGroupName=live_logs.group)
    live_logs.connect("one")
    live_logs.run(40)
    kinds = [frame["type"] for frame in live_logs.open_sockets.open["one"]]
    assert kinds == ["notice"], "a notice that lines arrive late"
    client.create_log_group(logGroupName=live_logs.group)
    live_logs.write("created")
    live_logs.run(3)
    assert live_logs.messages("one") == ["created"]
    live_logs.run(40)
    assert live_logs.filters(), "the filter is requested again"
    live_logs.write("pushed")
    live_logs.run(5)
    live_logs.check("one")


@pytest.mark.parametrize(
    ("filter_takes", "lag"), [(0, 0), (0, 9), (7, 3), (45, 0), (45, 9), (100, 9)]
)
def test_no_line_is_lost_while_the_filter_starts_and_searches_lag(
    live_logs: LiveLogs, filter_takes: float, lag: float
) -> None:
    live_logs.filter_takes, live_logs.cloudwatch.lag = filter_takes, lag
    live_logs.write(*FILLER)
    live_logs.run(4)
    live_logs.connect("one")
    for number in range(75):
        live_logs.write(f"one {number}", stream="a")
        if number % 3 == 0:
            live_logs.write(f"other {number}", stream="b")
        live_logs.run(2)
        if number == 5:
            live_logs.connect("late", lines=0)
            first = f"one {number + 1}"
    live_logs.run(30)
    got = set(live_logs.messages("one"))
    assert got == {line for lines in live_logs.written.values() for line in lines}
    written = live_logs.written["a"]
    assert set(written[written.index(first) :]) <= set(live_logs.messages("late"))
    if not lag:
        live_logs.check("one")


def test_a_push_before_the_first_poll_reads_no_old_lines(live_logs: LiveLogs) -> None:
    """The filter may deliver while the very first backlog is still being read."""
    live_logs.write(*(f"old {number}" for number in range(50)))
    live_logs.run(3600)
    live_logs.push_takes = 0
    live_logs.connect("one", lines=10)
    ensure = subscription.ensure_filter

    def ensure_and_push(*given: Any, **named: Any) -> Any:
        watch = ensure(*given, **named)
        live_logs.write("pushed")
        live_logs.push()
        return watch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subscription, "ensure_filter", ensure_and_push)
        live_logs.take()
    live_logs.run(20)
    assert live_logs.messages("one") == [*(f"old {number}" for number in range(41, 50)), "pushed"]


def test_the_first_push_sends_lines_written_since_the_last_poll(live_logs: LiveLogs) -> None:
    live_logs.filter_takes = 200
    live_logs.connect("one", lines=0)
    live_logs.run(100)
    watch = live_logs.watch()
    assert watch is not None
    assert not watch.polling, "polls stop after a minute"
    live_logs.write("after the last poll")
    live_logs.run(60)
    assert live_logs.messages("one") == []
    live_logs.run(60)
    live_logs.write("pushed")
    live_logs.run(5)
    live_logs.check("one")


def test_the_first_push_sends_its_lines_when_its_search_fails(live_logs: LiveLogs) -> None:
    live_logs.filter_takes = 90
    live_logs.connect("one", lines=0)
    live_logs.run(80)
    live_logs.write("gap")
    live_logs.run(20)
    live_logs.cloudwatch.refuses["filter_log_events"] = "ThrottlingException"
    live_logs.write("first")
    live_logs.run(5)
    assert live_logs.messages("one") == ["first"]
    live_logs.cloudwatch.refuses.clear()
    live_logs.write("second")
    live_logs.run(5)
    assert set(live_logs.messages("one")) == {"gap", "first", "second"}


def test_a_throttled_search_is_retried(live_logs: LiveLogs) -> None:
    live_logs.write("old")
    live_logs.run(5)
    calls = 0
    call = live_logs.cloudwatch._call  # noqa: SLF001

    def throttle_twice(name: str, request: dict[str, Any]) -> Any:
        nonlocal calls
        calls += name == "filter_log_events"
        live_logs.cloudwatch.refuses = (
            {"filter_log_events": "ThrottlingException"} if calls <= 2 else {}
        )
        return call(name, request)

    live_logs.cloudwatch._call = throttle_twice  # type: ignore[method-assign]  # noqa: SLF001
    live_logs.connect("one")
    live_logs.run(1)
    assert live_logs.messages("one") == ["old"]
    assert 0.5 < live_logs.time.at < 3
