"""The relay of live logs: backlog, pushes, polls, and what lies between them."""

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


# ---- A viewer comes ------------------------------------------------------------------------------


def test_a_viewer_gets_its_backlog_and_then_what_is_written(live_logs: LiveLogs) -> None:
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


def test_the_backlog_is_as_long_as_asked_and_none_is_an_empty_frame(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(30)
    live_logs.connect("few", lines=5)
    live_logs.connect("none", lines=0)
    live_logs.run(15)
    assert live_logs.messages("few") == FILLER[-5:]
    assert live_logs.open_sockets.open["none"] == [
        {"type": "log", "service": "orders", "lines": []}
    ]


def test_who_asked_for_no_backlog_gets_what_was_written_while_the_relay_came(
    live_logs: LiveLogs,
) -> None:
    live_logs.write("old")
    live_logs.run(1)
    live_logs.connect("one", lines=0)
    live_logs.held.advance(seconds=2)
    live_logs.write("meanwhile")
    live_logs.held.advance(seconds=2)
    live_logs.run(20)
    assert live_logs.messages("one") == ["meanwhile"]


@pytest.mark.parametrize("by", ["id", "moment", "moment with an offset"])
def test_resumed_by_an_id_or_a_moment_nothing_is_missing(live_logs: LiveLogs, by: str) -> None:
    live_logs.connect("one", lines=0)
    live_logs.run(5)
    for number in range(12):
        live_logs.write(f"line {number}")
        live_logs.run(5)
    last = live_logs.lines("one")[6]
    since = last["id"] if by == "id" else last["timestamp"]
    if by == "moment with an offset":
        since = since.replace("Z", " 00:00")  # a plus that came unescaped
    live_logs.disconnect("one")
    live_logs.run(300)
    live_logs.connect("again", since=since)
    live_logs.run(5)
    live_logs.write("new")
    live_logs.run(5)
    live_logs.check("again", first=last["message"])


def test_more_than_is_sent_at_once_ends_the_socket_so_that_the_next_since_goes_on(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that came live after a part of the answer would hide the rest from the next since."""
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


def test_resumed_from_the_beginning_of_time_everything_comes(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(5)
    live_logs.connect("one", since="1970-01-01T00:00:00Z")
    live_logs.run(1)
    live_logs.check("one")


def test_a_group_that_does_not_exist_yet_is_polled_until_it_does(live_logs: LiveLogs) -> None:
    client = boto_logs(live_logs)
    client.delete_log_group(logGroupName=live_logs.group)
    live_logs.connect("one")
    live_logs.run(40)
    kinds = [frame["type"] for frame in live_logs.open_sockets.open["one"]]
    assert kinds == ["notice"], "that lines come late"
    client.create_log_group(logGroupName=live_logs.group)
    live_logs.write("born")
    live_logs.run(3)
    assert live_logs.messages("one") == ["born"]
    live_logs.run(40)
    assert live_logs.filters(), "asked for again"
    live_logs.write("pushed")
    live_logs.run(5)
    live_logs.check("one")


def boto_logs(live_logs: LiveLogs) -> Any:
    return live_logs.cloudwatch._real  # noqa: SLF001


# ---- Between backlog and push --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter_takes", "lag"), [(0, 0), (0, 9), (7, 3), (45, 0), (45, 9), (100, 9)]
)
def test_no_line_is_lost_while_a_filter_wakes_up_and_searches_lag(
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


def test_a_push_that_comes_before_the_first_poll_reads_no_old_lines(live_logs: LiveLogs) -> None:
    """The filter may deliver while the very first backlog is still being read."""
    live_logs.write(*(f"old {number}" for number in range(50)))
    live_logs.run(3600)
    live_logs.push_takes = 0
    live_logs.connect("one", lines=10)
    ensure = subscription.ensure_filter

    def and_a_push(*given: Any, **named: Any) -> Any:
        watch = ensure(*given, **named)
        live_logs.write("pushed")
        live_logs.push()
        return watch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subscription, "ensure_filter", and_a_push)
        live_logs.take()
    live_logs.run(20)
    assert live_logs.messages("one") == [*(f"old {number}" for number in range(41, 50)), "pushed"]


def test_the_first_push_brings_what_was_written_since_the_last_poll(live_logs: LiveLogs) -> None:
    live_logs.filter_takes = 200
    live_logs.connect("one", lines=0)
    live_logs.run(100)
    watch = live_logs.watch()
    assert watch is not None
    assert not watch.polling, "a filter is given a minute"
    live_logs.write("unseen by any")
    live_logs.run(60)
    assert live_logs.messages("one") == []
    live_logs.run(60)
    live_logs.write("pushed")
    live_logs.run(5)
    live_logs.check("one")


def test_a_first_push_whose_search_is_refused_still_brings_its_lines(live_logs: LiveLogs) -> None:
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


def test_a_search_that_is_throttled_is_tried_again(live_logs: LiveLogs) -> None:
    live_logs.write("old")
    live_logs.run(5)
    calls = 0
    call = live_logs.cloudwatch._call  # noqa: SLF001

    def busy_twice(name: str, request: dict[str, Any]) -> Any:
        nonlocal calls
        calls += name == "filter_log_events"
        live_logs.cloudwatch.refuses = (
            {"filter_log_events": "ThrottlingException"} if calls <= 2 else {}
        )
        return call(name, request)

    live_logs.cloudwatch._call = busy_twice  # type: ignore[method-assign]  # noqa: SLF001
    live_logs.connect("one")
    live_logs.run(1)
    assert live_logs.messages("one") == ["old"]
    assert 0.5 < live_logs.time.at < 3


# ---- Polls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["LimitExceededException", "ThrottlingException"])
def test_while_cloudwatch_refuses_the_filter_lines_are_polled_and_it_is_asked_again(
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
    assert 5 <= len(puts) <= 8, "each half minute"
    live_logs.cloudwatch.refuses.clear()
    live_logs.run(40)
    live_logs.write("pushed")
    live_logs.run(20)
    live_logs.check("one")
    assert len(live_logs.filters()) == 1
    assert [task for _, task in live_logs.tasks if "poll" in task] == [], "the chain has ended"


def test_two_polls_of_one_turn_are_one(live_logs: LiveLogs) -> None:
    live_logs.connect("one", lines=0)
    live_logs.run(1)
    [poll] = [body for _, body in live_logs.tasks if '"poll"' in body]
    live_logs.tasks.append((live_logs.held.at, poll))
    live_logs.write("line")
    live_logs.run(10)
    assert len([body for _, body in live_logs.tasks if '"poll"' in body]) == 1
    assert [line["message"] for line in live_logs.lines("one")].count("line") <= 2


def test_a_line_of_the_future_does_not_carry_the_polls_past_the_present(
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


def test_a_page_without_lines_ends_no_chain(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudWatch answers so while it searches a large group."""
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
    """Open sockets, and let a filter deliver."""
    for name in names:
        live_logs.connect(name, lines=0)
    live_logs.run(2)
    live_logs.write("first")
    live_logs.run(30)


def test_a_gone_viewer_is_forgotten_and_holds_up_nobody(live_logs: LiveLogs) -> None:
    live(live_logs, "one", "gone", "other")
    live_logs.open_sockets.open.pop("gone")
    live_logs.write("line")
    live_logs.run(2)
    for name in ("one", "other"):
        assert live_logs.messages(name)[-1] == "line"
    assert live_logs.counts() == (2, 2)


def test_a_stuck_viewer_is_closed_and_may_come_again(live_logs: LiveLogs) -> None:
    live(live_logs, "one", "stuck")
    live_logs.open_sockets.stuck.add("stuck")
    live_logs.write("line")
    live_logs.run(2)
    assert live_logs.open_sockets.closed == ["stuck"]
    assert live_logs.messages("one")[-1] == "line"
    assert live_logs.counts() == (1, 1)


def test_a_viewer_that_takes_each_frame_slowly_is_closed(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "slow")
    post = live_logs.open_sockets.post_to_connection

    def slowly(**given: Any) -> None:
        live_logs.time.at += 2.9
        post(**given)

    monkeypatch.setattr(live_logs.open_sockets, "post_to_connection", slowly)
    live_logs.write(*(f"{number}" + "x" * 20_000 for number in range(30)))
    began = live_logs.time.at
    live_logs.run(2)
    assert live_logs.open_sockets.closed == ["slow"]
    assert live_logs.time.at - began < 30


def test_a_viewer_that_cannot_be_let_go_fails_no_push(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(live_logs, "gone", "one")
    live_logs.open_sockets.open.pop("gone")

    def away(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(store, "remove_viewer", away)
    live_logs.write("line")
    live_logs.held.advance(seconds=2)
    assert live_logs.push() == 1
    assert live_logs.messages("one")[-1] == "line"


def test_a_push_to_nobody_to_an_unknown_group_and_to_its_own_is_nothing(
    live_logs: LiveLogs,
) -> None:
    line = Line("1-0000000000000000", 1, "x")
    for group in ("/aws/lambda/the-relay", "/unknown", live_logs.group):
        assert relay.push(live_logs.relay, PushedLines(group, "a", ("f",), (line,))) == 0
    live(live_logs, "one")
    assert relay.push(live_logs.relay, PushedLines(live_logs.group, "a", (), ())) == 0


def test_the_relay_s_own_group_is_refused_even_if_watched(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    watch = live_logs.watch()
    assert watch is not None
    own = replace(live_logs.relay, own_group=live_logs.group)
    line = Line("1-0000000000000000", 1, "x")
    assert relay.push(own, PushedLines(live_logs.group, "a", (watch.filter,), (line,))) == 0


# ---- Lines held back -----------------------------------------------------------------------------


def test_what_is_pushed_while_a_backlog_is_on_its_way_comes_after_it(live_logs: LiveLogs) -> None:
    live(live_logs, "one")
    live_logs.write("in both")
    live_logs.held.advance(seconds=1)
    live_logs.connect("new", lines=2)
    live_logs.push()
    assert live_logs.messages("new") == []
    live_logs.write("held")
    live_logs.held.advance(seconds=1)
    live_logs.push()
    live_logs.cloudwatch.lag = 5  # the backlog does not find it
    live_logs.tasks.sort(key=lambda one: '"open"' not in one[1])
    live_logs.run(0)
    assert (
        live_logs.messages("new") == ["first", "in both", "held"]
        or live_logs.messages("new")[-1] == "held"
    )
    live_logs.run(20)
    assert live_logs.messages("new")[-1] == "held"


def test_lines_of_a_very_busy_group_fit_their_items(live_logs: LiveLogs) -> None:
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


def test_lines_are_held_in_their_order_whoever_counted_meanwhile(live_logs: LiveLogs) -> None:
    live_logs.connect("new", lines=0)
    [viewer] = store.list_viewers(live_logs.table, live_logs.group)
    for number in range(4):
        line = Line(f"{number}-0000000000000000", number, str(number))
        # Each has read the viewer before any other held a line.
        assert held_store.hold_lines(live_logs.table, viewer, [line], now=live_logs.held.at) == 1
    batches = held_store.read_held(live_logs.table, "new", first=0)
    assert [line.message for batch in batches for line in batch] == ["0", "1", "2", "3"]
    assert not store.set_live(live_logs.table, viewer, held=3)
    assert store.set_live(live_logs.table, viewer, held=4)
    assert held_store.hold_lines(live_logs.table, viewer, [line], now=live_logs.held.at) == 0


# ---- Tasks that come again, or for nobody --------------------------------------------------------


def test_an_open_that_comes_again_gives_no_second_backlog(live_logs: LiveLogs) -> None:
    live_logs.write(*FILLER)
    live_logs.run(5)
    live_logs.connect("one")
    body = live_logs.tasks[0][1]
    live_logs.run(1)
    before = len(live_logs.lines("one"))
    live_logs.tasks.append((live_logs.held.at, body))
    live_logs.run(0)
    assert len(live_logs.lines("one")) == before


def test_tasks_for_who_has_left_do_nothing(live_logs: LiveLogs) -> None:
    live_logs.write("old")
    for task in (
        Open(live_logs.group, "nobody"),
        Poll(live_logs.group, 7),
        CatchUp(live_logs.group, "nobody", 0, live_logs.held.at // 1000, ()),
    ):
        assert relay.work(live_logs.relay, relay.parse_task(message_rules.task_body(task))) == 0
    assert live_logs.left() == []


def test_a_socket_that_never_opens_is_forgotten(live_logs: LiveLogs) -> None:
    live_logs.connect("one")
    live_logs.open_sockets.open.pop("one")
    live_logs.run(1)
    assert live_logs.counts() == (0, 0)
    assert 5 <= live_logs.time.at < 6


def test_a_socket_that_opens_a_little_later_gets_its_backlog(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_logs.write("old")
    live_logs.connect("one")
    live_logs.open_sockets.open.pop("one")
    sleep = live_logs.time.sleep

    def opens(seconds: float) -> None:
        sleep(seconds)
        if live_logs.time.at > 3:
            live_logs.open_sockets.open.setdefault("one", [])

    monkeypatch.setattr(live_logs.time, "sleep", opens)
    live_logs.run(1)
    assert live_logs.messages("one") == ["old"]


def test_lines_that_a_search_finds_late_are_caught_up_with(live_logs: LiveLogs) -> None:
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
    assert "late" not in live_logs.messages("new"), "pushed before it came, and not found yet"
    live_logs.run(15)
    assert {"late", "later"} <= set(live_logs.messages("new"))


def test_a_catch_up_s_message_stays_small_however_much_was_read() -> None:
    lines = [Line(f"{number:013d}-{number:016x}-999999", number, "x") for number in range(20_000)]
    known = rules.ids_to_remember([], lines, cursor=10_000)
    task = CatchUp("/g" * 250, "c" * 16, 0, 1, known)
    assert len(message_rules.task_body(task)) < 256 * 1024


# ---- Bounds --------------------------------------------------------------------------------------


def test_a_group_has_a_hundred_viewers_and_an_account_two_hundred(live_logs: LiveLogs) -> None:
    for number in range(100):
        live_logs.connect(f"one {number}", lines=0)
    with pytest.raises(BoundReached, match="A log group has at most 100"):
        live_logs.connect("too many")
    live_logs.turn_to("billing")
    for number in range(100):
        live_logs.connect(f"two {number}", lines=0)
    live_logs.turn_to("third")
    with pytest.raises(BoundReached, match="An account has at most 200"):
        live_logs.connect("too many")
    assert live_logs.counts() == (0, 200)
    live_logs.disconnect("two 5")
    live_logs.connect("again")
    assert live_logs.counts() == (1, 200)
    live_logs.disconnect("again")
    live_logs.disconnect("again")
    assert live_logs.counts() == (0, 199)


def test_who_enters_twice_counts_once(live_logs: LiveLogs) -> None:
    live_logs.connect("one")
    [viewer] = store.list_viewers(live_logs.table, live_logs.group)
    store.add_viewer(live_logs.table, viewer)
    assert live_logs.counts() == (1, 1)


def test_who_is_refused_because_the_queue_is_away_does_not_count(
    live_logs: LiveLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(type(live_logs.relay.queue), "send", away)
    with pytest.raises(Unavailable):
        live_logs.connect("one")
    assert live_logs.counts() == (0, 0)
    live_logs.run(180)
    assert live_logs.left() == []


def test_a_service_without_a_log_group_has_nothing_to_watch(live_logs: LiveLogs) -> None:
    live_logs.table.update(
        {"pk": f"SERVICE#{ACCOUNT}", "sk": "orders"},
        "SET log_group = :none",
        condition="attribute_exists(pk)",
        names={},
        values={":none": ""},
    )
    with pytest.raises(NotFound):
        live_logs.connect("one")


def test_a_watch_that_was_forgotten_is_not_made_again_by_its_polls(live_logs: LiveLogs) -> None:
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
