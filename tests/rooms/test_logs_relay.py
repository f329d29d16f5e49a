"""The relay of live logs: backlog, pushes, polls, and what lies between them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.clock import SECOND, rfc3339
from gatehouse.core.errors import BoundReached, NotFound, Unavailable
from gatehouse.logs import relay, rules, store, watch_store
from gatehouse.logs.model import CatchUp, Line, Open, Poll, Pushed
from support.worlds.live_logs import ACCOUNT, Lookout

FILLER = [f"before {number}" for number in range(20)]


# ---- A viewer comes ------------------------------------------------------------------------------


def test_a_viewer_gets_its_backlog_and_then_what_is_written(lookout: Lookout) -> None:
    lookout.write(*FILLER)
    lookout.run(30)
    lookout.connect("one")
    lookout.run(1)
    assert lookout.messages("one") == FILLER
    for number in range(30):
        lookout.write(f"live {number}")
        lookout.run(3)
    lookout.check("one")
    assert len(lookout.filters()) == 1


def test_the_backlog_is_as_long_as_asked_and_none_is_an_empty_frame(lookout: Lookout) -> None:
    lookout.write(*FILLER)
    lookout.run(30)
    lookout.connect("few", lines=5)
    lookout.connect("none", lines=0)
    lookout.run(15)
    assert lookout.messages("few") == FILLER[-5:]
    assert lookout.open_sockets.open["none"] == [{"type": "log", "service": "orders", "lines": []}]


def test_who_asked_for_no_backlog_gets_what_was_written_while_the_relay_came(
    lookout: Lookout,
) -> None:
    lookout.write("old")
    lookout.run(1)
    lookout.connect("one", lines=0)
    lookout.held.advance(seconds=2)
    lookout.write("meanwhile")
    lookout.held.advance(seconds=2)
    lookout.run(20)
    assert lookout.messages("one") == ["meanwhile"]


@pytest.mark.parametrize("by", ["id", "moment", "moment with an offset"])
def test_resumed_by_an_id_or_a_moment_nothing_is_missing(lookout: Lookout, by: str) -> None:
    lookout.connect("one", lines=0)
    lookout.run(5)
    for number in range(12):
        lookout.write(f"line {number}")
        lookout.run(5)
    last = lookout.lines("one")[6]
    since = last["id"] if by == "id" else last["timestamp"]
    if by == "moment with an offset":
        since = since.replace("Z", " 00:00")  # a plus that came unescaped
    lookout.disconnect("one")
    lookout.run(300)
    lookout.connect("again", since=since)
    lookout.run(5)
    lookout.write("new")
    lookout.run(5)
    lookout.check("again", first=last["message"])


def test_more_than_is_sent_at_once_ends_the_socket_so_that_the_next_since_goes_on(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that came live after a part of the answer would hide the rest from the next since."""
    monkeypatch.setattr(rules, "MOST_RESUMED", 50)
    monkeypatch.setattr("gatehouse.logs.history._MOST_PAGES", 2)
    monkeypatch.setattr("gatehouse.logs.history._PAGE", 25)
    for number in range(120):
        lookout.write(f"line {number}")
        lookout.run(1)
    since, got = rfc3339(lookout.held.at - 130 * SECOND), []
    for turn in range(10):
        name = f"turn {turn}"
        lookout.connect(name, since=since)
        frames = lookout.open_sockets.open[name]
        lookout.run(1)
        lines = [line for frame in frames for line in frame.get("lines", ())]
        got += [line["message"] for line in lines if line["message"] not in got]
        if name in lookout.open_sockets.open:
            break
        assert frames[-1]["type"] == "exit"
        assert "since" in frames[-1]["reason"]
        since = lines[-1]["id"]
    assert turn >= 2
    assert got == lookout.written["a"]
    assert lookout.counts() == (1, 1)


def test_resumed_from_the_beginning_of_time_everything_comes(lookout: Lookout) -> None:
    lookout.write(*FILLER)
    lookout.run(5)
    lookout.connect("one", since="1970-01-01T00:00:00Z")
    lookout.run(1)
    lookout.check("one")


def test_a_group_that_does_not_exist_yet_is_polled_until_it_does(lookout: Lookout) -> None:
    client = boto_logs(lookout)
    client.delete_log_group(logGroupName=lookout.group)
    lookout.connect("one")
    lookout.run(40)
    kinds = [frame["type"] for frame in lookout.open_sockets.open["one"]]
    assert kinds == ["notice"], "that lines come late"
    client.create_log_group(logGroupName=lookout.group)
    lookout.write("born")
    lookout.run(3)
    assert lookout.messages("one") == ["born"]
    lookout.run(40)
    assert lookout.filters(), "asked for again"
    lookout.write("pushed")
    lookout.run(5)
    lookout.check("one")


def boto_logs(lookout: Lookout) -> Any:
    return lookout.cloudwatch._real  # noqa: SLF001


# ---- Between backlog and push --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter_takes", "lag"), [(0, 0), (0, 9), (7, 3), (45, 0), (45, 9), (100, 9)]
)
def test_no_line_is_lost_while_a_filter_wakes_up_and_searches_lag(
    lookout: Lookout, filter_takes: float, lag: float
) -> None:
    lookout.filter_takes, lookout.cloudwatch.lag = filter_takes, lag
    lookout.write(*FILLER)
    lookout.run(4)
    lookout.connect("one")
    for number in range(75):
        lookout.write(f"one {number}", stream="a")
        if number % 3 == 0:
            lookout.write(f"other {number}", stream="b")
        lookout.run(2)
        if number == 5:
            lookout.connect("late", lines=0)
            first = f"one {number + 1}"
    lookout.run(30)
    got = set(lookout.messages("one"))
    assert got == {line for lines in lookout.written.values() for line in lines}
    written = lookout.written["a"]
    assert set(written[written.index(first) :]) <= set(lookout.messages("late"))
    if not lag:
        lookout.check("one")


def test_a_push_that_comes_before_the_first_poll_reads_no_old_lines(lookout: Lookout) -> None:
    """The filter may deliver while the very first backlog is still being read."""
    lookout.write(*(f"old {number}" for number in range(50)))
    lookout.run(3600)
    lookout.push_takes = 0
    lookout.connect("one", lines=10)
    ensure = relay.subscription.ensure

    def and_a_push(*given: Any, **named: Any) -> Any:
        watch = ensure(*given, **named)
        lookout.write("pushed")
        lookout.push()
        return watch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay.subscription, "ensure", and_a_push)
        lookout.take()
    lookout.run(20)
    assert lookout.messages("one") == [*(f"old {number}" for number in range(41, 50)), "pushed"]


def test_the_first_push_brings_what_was_written_since_the_last_poll(lookout: Lookout) -> None:
    lookout.filter_takes = 200
    lookout.connect("one", lines=0)
    lookout.run(100)
    watch = lookout.watch()
    assert watch is not None
    assert not watch.polling, "a filter is given a minute"
    lookout.write("unseen by any")
    lookout.run(60)
    assert lookout.messages("one") == []
    lookout.run(60)
    lookout.write("pushed")
    lookout.run(5)
    lookout.check("one")


def test_a_first_push_whose_search_is_refused_still_brings_its_lines(lookout: Lookout) -> None:
    lookout.filter_takes = 90
    lookout.connect("one", lines=0)
    lookout.run(80)
    lookout.write("gap")
    lookout.run(20)
    lookout.cloudwatch.refuses["filter_log_events"] = "ThrottlingException"
    lookout.write("first")
    lookout.run(5)
    assert lookout.messages("one") == ["first"]
    lookout.cloudwatch.refuses.clear()
    lookout.write("second")
    lookout.run(5)
    assert set(lookout.messages("one")) == {"gap", "first", "second"}


def test_a_search_that_is_throttled_is_tried_again(lookout: Lookout) -> None:
    lookout.write("old")
    lookout.run(5)
    calls = 0
    call = lookout.cloudwatch._call  # noqa: SLF001

    def busy_twice(name: str, request: dict[str, Any]) -> Any:
        nonlocal calls
        calls += name == "filter_log_events"
        lookout.cloudwatch.refuses = (
            {"filter_log_events": "ThrottlingException"} if calls <= 2 else {}
        )
        return call(name, request)

    lookout.cloudwatch._call = busy_twice  # type: ignore[method-assign]  # noqa: SLF001
    lookout.connect("one")
    lookout.run(1)
    assert lookout.messages("one") == ["old"]
    assert 0.5 < lookout.time.at < 3


# ---- Polls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["LimitExceededException", "ThrottlingException"])
def test_while_cloudwatch_refuses_the_filter_lines_are_polled_and_it_is_asked_again(
    lookout: Lookout, code: str
) -> None:
    lookout.cloudwatch.refuses["put_subscription_filter"] = code
    lookout.connect("one", lines=0)
    lookout.run(1)
    assert "late" in lookout.open_sockets.open["one"][0]["message"]
    for number in range(20):
        lookout.write(f"line {number}")
        lookout.run(10)
    lookout.check("one")
    assert lookout.filters() == []
    puts = [1 for name, _ in lookout.cloudwatch.calls if name == "put_subscription_filter"]
    assert 5 <= len(puts) <= 8, "each half minute"
    lookout.cloudwatch.refuses.clear()
    lookout.run(40)
    lookout.write("pushed")
    lookout.run(20)
    lookout.check("one")
    assert len(lookout.filters()) == 1
    assert [task for _, task in lookout.tasks if "poll" in task] == [], "the chain has ended"


def test_two_polls_of_one_turn_are_one(lookout: Lookout) -> None:
    lookout.connect("one", lines=0)
    lookout.run(1)
    [poll] = [body for _, body in lookout.tasks if '"poll"' in body]
    lookout.tasks.append((lookout.held.at, poll))
    lookout.write("line")
    lookout.run(10)
    assert len([body for _, body in lookout.tasks if '"poll"' in body]) == 1
    assert [line["message"] for line in lookout.lines("one")].count("line") <= 2


def test_a_line_of_the_future_does_not_carry_the_polls_past_the_present(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse.logs.history._MOST_PAGES", 1)
    monkeypatch.setattr("gatehouse.logs.history._PAGE", 6)
    monkeypatch.setattr(rules, "MOST_RESUMED", 6)
    lookout.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    lookout.connect("one", lines=0)
    lookout.run(1)
    ahead = lookout.held.at // 1000 + 50_000
    lookout.write(*(f"ahead {number}" for number in range(5)), stream="b", at=ahead)
    lookout.run(4)
    for number in range(8):
        lookout.write(f"now {number}")
        lookout.run(4)
    assert set(lookout.written["a"]) <= set(lookout.messages("one"))


def test_a_page_without_lines_ends_no_chain(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudWatch answers so while it searches a large group."""
    lookout.cloudwatch.refuses["put_subscription_filter"] = "LimitExceededException"
    lookout.connect("one", lines=0)
    lookout.run(1)
    with monkeypatch.context() as patch:
        empty = {"events": [], "nextToken": "more"}
        patch.setattr(lookout.cloudwatch, "filter_log_events", lambda **_: empty)
        lookout.run(6)
    lookout.write("line")
    lookout.run(4)
    assert lookout.messages("one") == ["line"]


# ---- Pushes --------------------------------------------------------------------------------------


def live(lookout: Lookout, *names: str) -> None:
    """Open sockets, and let a filter deliver."""
    for name in names:
        lookout.connect(name, lines=0)
    lookout.run(2)
    lookout.write("first")
    lookout.run(30)


def test_a_gone_viewer_is_forgotten_and_holds_up_nobody(lookout: Lookout) -> None:
    live(lookout, "one", "gone", "other")
    lookout.open_sockets.open.pop("gone")
    lookout.write("line")
    lookout.run(2)
    for name in ("one", "other"):
        assert lookout.messages(name)[-1] == "line"
    assert lookout.counts() == (2, 2)


def test_a_stuck_viewer_is_closed_and_may_come_again(lookout: Lookout) -> None:
    live(lookout, "one", "stuck")
    lookout.open_sockets.stuck.add("stuck")
    lookout.write("line")
    lookout.run(2)
    assert lookout.open_sockets.closed == ["stuck"]
    assert lookout.messages("one")[-1] == "line"
    assert lookout.counts() == (1, 1)


def test_a_viewer_that_takes_each_frame_slowly_is_closed(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(lookout, "slow")
    post = lookout.open_sockets.post_to_connection

    def slowly(**given: Any) -> None:
        lookout.time.at += 2.9
        post(**given)

    monkeypatch.setattr(lookout.open_sockets, "post_to_connection", slowly)
    lookout.write(*(f"{number}" + "x" * 20_000 for number in range(30)))
    began = lookout.time.at
    lookout.run(2)
    assert lookout.open_sockets.closed == ["slow"]
    assert lookout.time.at - began < 30


def test_a_viewer_that_cannot_be_let_go_fails_no_push(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(lookout, "gone", "one")
    lookout.open_sockets.open.pop("gone")

    def away(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(store, "leave", away)
    lookout.write("line")
    lookout.held.advance(seconds=2)
    assert lookout.push() == 1
    assert lookout.messages("one")[-1] == "line"


def test_a_push_to_nobody_to_an_unknown_group_and_to_its_own_is_nothing(lookout: Lookout) -> None:
    line = Line("1-0000000000000000", 1, "x")
    for group in ("/aws/lambda/the-relay", "/unknown", lookout.group):
        assert relay.push(lookout.relay, Pushed(group, "a", ("f",), (line,))) == 0
    live(lookout, "one")
    assert relay.push(lookout.relay, Pushed(lookout.group, "a", (), ())) == 0


def test_the_relay_s_own_group_is_refused_even_if_watched(lookout: Lookout) -> None:
    live(lookout, "one")
    watch = lookout.watch()
    assert watch is not None
    own = replace(lookout.relay, own_group=lookout.group)
    line = Line("1-0000000000000000", 1, "x")
    assert relay.push(own, Pushed(lookout.group, "a", (watch.filter,), (line,))) == 0


# ---- Lines held back -----------------------------------------------------------------------------


def test_what_is_pushed_while_a_backlog_is_on_its_way_comes_after_it(lookout: Lookout) -> None:
    live(lookout, "one")
    lookout.write("in both")
    lookout.held.advance(seconds=1)
    lookout.connect("new", lines=2)
    lookout.push()
    assert lookout.messages("new") == []
    lookout.write("held")
    lookout.held.advance(seconds=1)
    lookout.push()
    lookout.cloudwatch.lag = 5  # the backlog does not find it
    lookout.tasks.sort(key=lambda one: '"open"' not in one[1])
    lookout.run(0)
    assert (
        lookout.messages("new") == ["first", "in both", "held"]
        or lookout.messages("new")[-1] == "held"
    )
    lookout.run(20)
    assert lookout.messages("new")[-1] == "held"


def test_lines_of_a_very_busy_group_fit_their_items(lookout: Lookout) -> None:
    live(lookout, "one")
    lookout.tasks.clear()
    lookout.connect("new", lines=0)
    dice = random.Random(1)  # noqa: S311 - the same each time
    at = lookout.held.at // 1000
    lines = [Line(f"{at}-{number:016x}", at, dice.randbytes(700).hex()) for number in range(2_000)]
    lines.append(Line(f"{at}-{2_000:016x}", at, dice.randbytes(400_000).hex()))
    watch = lookout.watch()
    assert watch is not None
    relay.push(lookout.relay, Pushed(lookout.group, "a", (watch.filter,), tuple(lines)))
    held = store.held(lookout.table, "new", first=0)
    assert len(held) > 3
    assert sum(map(len, held)) > 2_000
    assert store.held(lookout.table, "new", first=2) == held[2:]
    lookout.run(1)
    got = lookout.lines("new")
    assert [line["message"] for line in got[:2_000]] == [line.message for line in lines[:-1]]
    assert "".join(line["message"] for line in got[2_000:]) == lines[-1].message
    assert max(lookout.open_sockets.sizes) <= 32 * 1024
    assert store.held(lookout.table, "new", first=0) == []


def test_lines_are_held_in_their_order_whoever_counted_meanwhile(lookout: Lookout) -> None:
    lookout.connect("new", lines=0)
    [viewer] = store.viewers(lookout.table, lookout.group)
    for number in range(4):
        line = Line(f"{number}-0000000000000000", number, str(number))
        # Each has read the viewer before any other held a line.
        assert store.hold(lookout.table, viewer, [line], now=lookout.held.at) == 1
    batches = store.held(lookout.table, "new", first=0)
    assert [line.message for batch in batches for line in batch] == ["0", "1", "2", "3"]
    assert not store.let_live(lookout.table, viewer, held=3)
    assert store.let_live(lookout.table, viewer, held=4)
    assert store.hold(lookout.table, viewer, [line], now=lookout.held.at) == 0


# ---- Tasks that come again, or for nobody --------------------------------------------------------


def test_an_open_that_comes_again_gives_no_second_backlog(lookout: Lookout) -> None:
    lookout.write(*FILLER)
    lookout.run(5)
    lookout.connect("one")
    body = lookout.tasks[0][1]
    lookout.run(1)
    before = len(lookout.lines("one"))
    lookout.tasks.append((lookout.held.at, body))
    lookout.run(0)
    assert len(lookout.lines("one")) == before


def test_tasks_for_who_has_left_do_nothing(lookout: Lookout) -> None:
    lookout.write("old")
    for task in (
        Open(lookout.group, "nobody"),
        Poll(lookout.group, 7),
        CatchUp(lookout.group, "nobody", 0, lookout.held.at // 1000, ()),
    ):
        assert relay.work(lookout.relay, relay.read(rules.write(task))) == 0
    assert lookout.left() == []


def test_a_socket_that_never_opens_is_forgotten(lookout: Lookout) -> None:
    lookout.connect("one")
    lookout.open_sockets.open.pop("one")
    lookout.run(1)
    assert lookout.counts() == (0, 0)
    assert 5 <= lookout.time.at < 6


def test_a_socket_that_opens_a_little_later_gets_its_backlog(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookout.write("old")
    lookout.connect("one")
    lookout.open_sockets.open.pop("one")
    sleep = lookout.time.sleep

    def opens(seconds: float) -> None:
        sleep(seconds)
        if lookout.time.at > 3:
            lookout.open_sockets.open.setdefault("one", [])

    monkeypatch.setattr(lookout.time, "sleep", opens)
    lookout.run(1)
    assert lookout.messages("one") == ["old"]


def test_lines_that_a_search_finds_late_are_caught_up_with(lookout: Lookout) -> None:
    live(lookout, "one")
    lookout.write("early", stream="b")
    lookout.run(5)
    lookout.cloudwatch.lag = 4
    lookout.write("late", stream="c")
    lookout.run(1)
    lookout.write("later", stream="c")
    lookout.run(2)
    lookout.connect("new")
    lookout.run(0)
    assert "late" not in lookout.messages("new"), "pushed before it came, and not found yet"
    lookout.run(15)
    assert {"late", "later"} <= set(lookout.messages("new"))


def test_a_catch_up_s_message_stays_small_however_much_was_read() -> None:
    lines = [Line(f"{number:013d}-{number:016x}-999999", number, "x") for number in range(20_000)]
    known = rules.remembered([], lines, cursor=10_000)
    task = CatchUp("/g" * 250, "c" * 16, 0, 1, known)
    assert len(rules.write(task)) < 256 * 1024


# ---- Bounds --------------------------------------------------------------------------------------


def test_a_group_has_a_hundred_viewers_and_an_account_two_hundred(lookout: Lookout) -> None:
    for number in range(100):
        lookout.connect(f"one {number}", lines=0)
    with pytest.raises(BoundReached, match="A log group has at most 100"):
        lookout.connect("too many")
    lookout.turn_to("billing")
    for number in range(100):
        lookout.connect(f"two {number}", lines=0)
    lookout.turn_to("third")
    with pytest.raises(BoundReached, match="An account has at most 200"):
        lookout.connect("too many")
    assert lookout.counts() == (0, 200)
    lookout.disconnect("two 5")
    lookout.connect("again")
    assert lookout.counts() == (1, 200)
    lookout.disconnect("again")
    lookout.disconnect("again")
    assert lookout.counts() == (0, 199)


def test_who_enters_twice_counts_once(lookout: Lookout) -> None:
    lookout.connect("one")
    [viewer] = store.viewers(lookout.table, lookout.group)
    store.enter(lookout.table, viewer)
    assert lookout.counts() == (1, 1)


def test_who_is_refused_because_the_queue_is_away_does_not_count(
    lookout: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(type(lookout.relay.queue), "send", away)
    with pytest.raises(Unavailable):
        lookout.connect("one")
    assert lookout.counts() == (0, 0)
    lookout.run(180)
    assert lookout.left() == []


def test_a_service_without_a_log_group_has_nothing_to_watch(lookout: Lookout) -> None:
    lookout.table.update(
        {"pk": f"SERVICE#{ACCOUNT}", "sk": "orders"},
        "SET log_group = :none",
        condition="attribute_exists(pk)",
        names={},
        values={":none": ""},
    )
    with pytest.raises(NotFound):
        lookout.connect("one")


def test_a_watch_that_was_forgotten_is_not_made_again_by_its_polls(lookout: Lookout) -> None:
    lookout.connect("one")
    seen = lookout.watch()
    assert seen is not None
    lookout.disconnect("one")
    watch_store.forget(lookout.table, lookout.group)
    assert lookout.watch() is None
    at = lookout.held.at
    assert watch_store.begin_polls(lookout.table, seen, since=0, cursor=0, seen=(), now=at) is None
    assert watch_store.listed(lookout.table) == []
