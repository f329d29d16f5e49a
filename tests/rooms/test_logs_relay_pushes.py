"""The relay of live logs: polls, pushes, and lines held while a backlog is sent."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.errors import Unavailable
from gatehouse.logs import held_store, relay, rules, store
from gatehouse.logs.model import Line, PushedLines
from support.worlds.live_logs import LiveLogs


@pytest.mark.parametrize("code", ["LimitExceededException", "ThrottlingException"])
def test_a_refused_filter_is_retried_and_lines_are_polled_meanwhile(
    live_logs: LiveLogs, code: str
) -> None:
    live_logs.cloudwatch.refuses["put_subscription_filter"] = code
    live_logs.connect("one", lines=0)
    live_logs.run(1)
    assert "late" in live_logs.open_sockets.open["one"][0]["message"]
    for number in range(20):
        live_logs.write(f"line {number}")
        live_logs.run(10)
    live_logs.check("one")
    assert live_logs.filters() == []
    puts = [1 for name, _ in live_logs.cloudwatch.calls if name == "put_subscription_filter"]
    assert 5 <= len(puts) <= 8, "every half minute"
    live_logs.cloudwatch.refuses.clear()
    live_logs.run(40)
    live_logs.write("pushed")
    live_logs.run(20)
    live_logs.check("one")
    assert len(live_logs.filters()) == 1
    assert [task for _, task in live_logs.tasks if "poll" in task] == [], "the chain has ended"


def test_a_duplicate_poll_does_not_start_a_second_chain(live_logs: LiveLogs) -> None:
    live_logs.connect("one", lines=0)
    live_logs.run(1)
    [poll] = [body for _, body in live_logs.tasks if '"poll"' in body]
    live_logs.tasks.append((live_logs.held.at, poll))
    live_logs.write("line")
    live_logs.run(10)
    assert len([body for _, body in live_logs.tasks if '"poll"' in body]) == 1
    assert [line["message"] for line in live_logs.lines("one")].count("line") <= 2


def test_a_line_dated_in_the_future_does_not_hide_later_lines(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse.logs.history._MOST_PAGES", 1)
    monkeypatch.setattr("gatehouse.logs.history._PAGE", 6)
    monkeypatch.setattr(rules, "MOST_RESUMED", 6)
    live_logs.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    live_logs.connect("one", lines=0)
    live_logs.run(1)
    ahead = live_logs.held.at // 1000 + 50_000
    live_logs.write(*(f"ahead {number}" for number in range(5)), stream="b", at=ahead)
    live_logs.run(4)
    for number in range(8):
        live_logs.write(f"now {number}")
        live_logs.run(4)
    assert set(live_logs.written["a"]) <= set(live_logs.messages("one"))


def test_empty_pages_do_not_end_a_chain_of_polls(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudWatch returns them while it searches a large group."""
    live_logs.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    live_logs.connect("one", lines=0)
    live_logs.run(1)
    with monkeypatch.context() as patch:
        empty = {"events": [], "nextToken": "more"}
        patch.setattr(live_logs.cloudwatch, "filter_log_events", lambda **_: empty)
        live_logs.run(6)
    live_logs.write("line")
    live_logs.run(4)
    assert live_logs.messages("one") == ["line"]


def live(live_logs: LiveLogs, *names: str) -> None:
    """Open sockets, and wait until the filter delivers."""
    for name in names:
        live_logs.connect(name, lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)


def test_a_gone_viewer_is_removed_and_delays_no_other_viewer(live_logs: LiveLogs) -> None:
    live(live_logs, "one", "gone", "other")
    live_logs.open_sockets.open.pop("gone")
    live_logs.write("line")
    live_logs.run(2)
    for name in ("one", "other"):
        assert live_logs.messages(name)[-1] == "line"
    assert live_logs.counts() == (2, 2)


def test_a_throttled_viewer_is_disconnected(live_logs: LiveLogs) -> None:
    live(live_logs, "one", "stuck")
    live_logs.open_sockets.stuck.add("stuck")
    live_logs.write("line")
    live_logs.run(2)
    assert live_logs.open_sockets.closed == ["stuck"]
    assert live_logs.messages("one")[-1] == "line"
    assert live_logs.counts() == (1, 1)


def test_a_viewer_that_receives_each_frame_slowly_is_disconnected(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "slow")
    post = live_logs.open_sockets.post_to_connection

    def post_slowly(**given: Any) -> None:
        live_logs.time.at += 2.9
        post(**given)

    monkeypatch.setattr(live_logs.open_sockets, "post_to_connection", post_slowly)
    live_logs.write(*(f"{number}" + "x" * 20_000 for number in range(30)))
    began = live_logs.time.at
    live_logs.run(2)
    assert live_logs.open_sockets.closed == ["slow"]
    assert live_logs.time.at - began < 30


def test_a_push_succeeds_when_a_gone_viewer_cannot_be_removed(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "gone", "one")
    live_logs.open_sockets.open.pop("gone")

    def unavailable(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(store, "remove_viewer", unavailable)
    live_logs.write("line")
    live_logs.held.advance(seconds=2)
    assert live_logs.push() == 1
    assert live_logs.messages("one")[-1] == "line"


def test_a_push_without_viewers_or_a_current_filter_sends_nothing(live_logs: LiveLogs) -> None:
    line = Line("1-0000000000000000", 1, "x")
    for group in ("/aws/lambda/the-relay", "/unknown", live_logs.group):
        assert relay.push(live_logs.relay, PushedLines(group, "a", ("f",), (line,))) == 0
    live(live_logs, "one")
    assert relay.push(live_logs.relay, PushedLines(live_logs.group, "a", (), ())) == 0


def test_a_push_from_the_relay_s_own_log_group_is_always_ignored(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    watch = live_logs.watch()
    assert watch is not None
    own = replace(live_logs.relay, own_group=live_logs.group)
    line = Line("1-0000000000000000", 1, "x")
    assert relay.push(own, PushedLines(live_logs.group, "a", (watch.filter,), (line,))) == 0


def test_lines_pushed_during_a_backlog_are_sent_after_it(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.write("in both")
    live_logs.held.advance(seconds=1)
    live_logs.connect("new", lines=2)
    live_logs.push()
    assert live_logs.messages("new") == []
    live_logs.write("held")
    live_logs.held.advance(seconds=1)
    live_logs.push()
    live_logs.cloudwatch.lag = 5  # the backlog's search does not find it
    live_logs.tasks.sort(key=lambda one: '"open"' not in one[1])
    live_logs.run(0)
    assert (
        live_logs.messages("new") == ["first", "in both", "held"]
        or live_logs.messages("new")[-1] == "held"
    )
    live_logs.run(20)
    assert live_logs.messages("new")[-1] == "held"


def test_held_lines_of_a_busy_group_are_divided_between_items(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.tasks.clear()
    live_logs.connect("new", lines=0)
    dice = random.Random(1)  # noqa: S311 - the same each time
    at = live_logs.held.at // 1000
    lines = [Line(f"{at}-{number:016x}", at, dice.randbytes(700).hex()) for number in range(2_000)]
    lines.append(Line(f"{at}-{2_000:016x}", at, dice.randbytes(400_000).hex()))
    watch = live_logs.watch()
    assert watch is not None
    relay.push(live_logs.relay, PushedLines(live_logs.group, "a", (watch.filter,), tuple(lines)))
    held = held_store.read_held(live_logs.table, "new", first=0)
    assert len(held) > 3
    assert sum(map(len, held)) > 2_000
    assert held_store.read_held(live_logs.table, "new", first=2) == held[2:]
    live_logs.run(1)
    got = live_logs.lines("new")
    assert [line["message"] for line in got[:2_000]] == [line.message for line in lines[:-1]]
    assert "".join(line["message"] for line in got[2_000:]) == lines[-1].message
    assert max(live_logs.open_sockets.sizes) <= 32 * 1024
    assert held_store.read_held(live_logs.table, "new", first=0) == []


def test_held_lines_keep_their_order_when_the_viewer_item_is_stale(live_logs: LiveLogs) -> None:
    live_logs.connect("new", lines=0)
    [viewer] = store.list_viewers(live_logs.table, live_logs.group)
    for number in range(4):
        line = Line(f"{number}-0000000000000000", number, str(number))
        # Each call uses the viewer as it was before any line was held.
        assert held_store.hold_lines(live_logs.table, viewer, [line], now=live_logs.held.at) == 1
    batches = held_store.read_held(live_logs.table, "new", first=0)
    assert [line.message for batch in batches for line in batch] == ["0", "1", "2", "3"]
    assert not store.set_live(live_logs.table, viewer, held=3)
    assert store.set_live(live_logs.table, viewer, held=4)
    assert held_store.hold_lines(live_logs.table, viewer, [line], now=live_logs.held.at) == 0
