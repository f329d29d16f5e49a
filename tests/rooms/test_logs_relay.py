"""The relay of live logs: backlog, pushes, polls, and the changes between them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.clock import SECOND, rfc3339
from gatehouse.core.errors import BoundReached, NotFound, Unavailable
from gatehouse.logs import held_store, message_rules, relay, rules, store, subscription, watch_store
from gatehouse.logs.model import CatchUp, Line, Open, Poll, PushedLines
from support.worlds.live_logs import ACCOUNT, LiveLogs

FILLER = [f"before {number}" for number in range(20)]


# ---- A viewer connects ---------------------------------------------------------------------------


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


# ---- Between backlog and push --------------------------------------------------------------------


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


# ---- Polls ---------------------------------------------------------------------------------------


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


# ---- Pushes --------------------------------------------------------------------------------------


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


# ---- Held lines ----------------------------------------------------------------------------------


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


# ---- Repeated tasks, and tasks without a viewer --------------------------------------------------


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


# ---- Bounds --------------------------------------------------------------------------------------


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
