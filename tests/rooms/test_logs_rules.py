"""Pure rules of live logs: line ids, frames, query parameters, tasks and due times."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import BadInput
from gatehouse.logs import frame_rules, line_rules, message_rules, rules
from gatehouse.logs.model import BacklogRequest, CatchUp, Line, Open, Poll, Viewer, Watch

NOW = 1_800_000_000 * SECOND
AT = NOW // 1000
FRAME = 32 * 1024
LONGEST_NAME = "s" * 64

# Whatever a program may write: controls, quotes, emoji, and halves of surrogate pairs.
TEXT = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cs", "Cc"]),
        st.sampled_from('"\\\x00\x1b\u2028\ud83d\ude00😀'),
    )
)
EVENTS = st.lists(st.tuples(st.integers(AT, AT + 3), st.sampled_from(["a", "b", "a\n", ""])))


# ---- Ids -----------------------------------------------------------------------------------------


@given(EVENTS, st.sets(st.integers(AT, AT + 3)))
def test_a_line_s_id_does_not_depend_on_how_batches_are_divided(
    events: list[tuple[int, str]], cuts: set[int]
) -> None:
    events.sort(key=lambda event: event[0])
    whole = line_rules.with_ids("stream", events)
    batches = groupby(events, key=lambda event: sum(event[0] >= cut for cut in cuts))
    pieces = [line for _, batch in batches for line in line_rules.with_ids("stream", batch)]
    assert pieces == whole
    assert len({line.id for line in whole}) == len(whole), "no two lines share one"


@given(EVENTS)
def test_a_push_and_a_search_give_a_line_the_same_id(events: list[tuple[int, str]]) -> None:
    events.sort(key=lambda event: event[0])
    pushed = message_rules.parse_push(push(events))
    assert pushed is not None
    assert list(pushed.lines) == line_rules.with_ids("stream", events)


def push(events: list[tuple[int, str]], **more: Any) -> str:
    """Encode a push as CloudWatch sends it to a function."""
    said = {
        "messageType": "DATA_MESSAGE",
        "logGroup": "/g",
        "logStream": "stream",
        "subscriptionFilters": ["f"],
        "logEvents": [{"id": "1", "timestamp": at, "message": text} for at, text in events],
    }
    return base64.b64encode(gzip.compress(json.dumps(said | more).encode())).decode()


def test_equal_lines_are_numbered_and_ids_start_with_the_timestamp() -> None:
    lines = line_rules.with_ids(
        "s", [(AT, "x"), (AT, "y"), (AT, "x"), (AT + 1, "x"), (AT, "x\r\n")]
    )
    first = lines[0].id
    assert [line.id for line in lines if line.message == "x"] == [
        first,
        f"{first}-2",
        lines[3].id,
        f"{first}-3",
    ]
    assert all(line_rules.time_of(line.id) == line.at for line in lines)
    assert line_rules.with_ids("other", [(AT, "x")])[0].id != first


def test_line_ids_are_a_published_format_and_do_not_change() -> None:
    """A viewer may resume from an id that it stored days ago."""
    [line] = line_rules.with_ids(
        "2026/11/21/[$LATEST]0", [(1_795_253_400_123, "order 1 shipped\n")]
    )
    assert line == Line(PINNED, 1_795_253_400_123, "order 1 shipped")


PINNED = "1795253400123-496fa64b7ff99330"


PACKED = [
    base64.b64encode(gzip.compress(said, mtime=0)).decode() for said in (b"[", b"{}", b"[1]", b"7")
]


@pytest.mark.parametrize("data", ["", "!", "e30=", *PACKED, "H4sIAAAA"])
def test_data_that_is_not_a_push_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match="must be a message of CloudWatch Logs"):
        message_rules.parse_push(data)


def test_a_control_message_from_cloudwatch_has_no_lines() -> None:
    assert (
        message_rules.parse_push(push([(AT, "CWL CONTROL MESSAGE")], messageType="CONTROL_MESSAGE"))
        is None
    )


# ---- What a viewer asks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "since", "expected"),
    [
        (None, None, BacklogRequest(500, None)),
        ("0", None, BacklogRequest(0, None)),
        ("1000", None, BacklogRequest(1000, None)),
        ("007", None, BacklogRequest(7, None)),
        (None, "1795253400123-0123456789abcdef", BacklogRequest(500, 1_795_253_400_123)),
        (None, "1795253400123-0123456789abcdef-2", BacklogRequest(500, 1_795_253_400_123)),
        (None, "1795253400123-0123456789abcdef-2.17", BacklogRequest(500, 1_795_253_400_123)),
        (None, "1970-01-01T00:00:01.5Z", BacklogRequest(500, 1_500)),
        (None, "1970-01-01T01:00:01+01:00", BacklogRequest(500, 1_000)),
        (None, "1970-01-01T01:00:01 01:00", BacklogRequest(500, 1_000)),
        (None, "1900-01-01T00:00:00Z", BacklogRequest(500, 0)),
        ("5", "1970-01-01T00:00:01Z", BacklogRequest(5, 1_000)),
    ],
)
def test_lines_and_since_are_parsed(
    lines: str | None, since: str | None, expected: BacklogRequest
) -> None:
    assert line_rules.parse_backlog_request(lines=lines, since=since) == expected


@pytest.mark.parametrize("lines", ["", "-1", "1001", "1.0", "ten", "10000", "\u0661", " 1", "1\n"])
def test_invalid_lines_parameters_are_refused(lines: str) -> None:
    with pytest.raises(BadInput) as refused:
        line_rules.parse_backlog_request(lines=lines, since=None)
    assert refused.value.details == {"field": "lines"}


@pytest.mark.parametrize(
    "since",
    [
        *("", "yesterday", "1795253400123", "2026-13-01T00:00:00Z", "2026-01-01", "-5-0123"),
        *("1795253400123-0123456789abcdeg", "1795253400123-0123456789abcdef\n"),
        "1" * 16 + "-0123456789abcdef",
    ],
)
def test_invalid_since_parameters_are_refused(since: str) -> None:
    with pytest.raises(BadInput) as refused:
        line_rules.parse_backlog_request(lines=None, since=since)
    assert refused.value.details == {"field": "since"}


@given(st.text() | st.none(), st.text() | st.none())
def test_any_lines_and_since_are_parsed_or_refused(lines: str | None, since: str | None) -> None:
    try:
        found = line_rules.parse_backlog_request(lines=lines, since=since)
    except BadInput:
        return
    assert 0 <= found.lines <= 1000
    assert found.since is None or found.since >= 0


@given(EVENTS)
def test_every_sent_id_and_timestamp_is_a_valid_since(events: list[tuple[int, str]]) -> None:
    for line in shown(frame_rules.log_frames("orders", line_rules.with_ids("s", events))):
        moment = line_rules.parse_backlog_request(lines=None, since=line["id"]).since
        assert line_rules.parse_backlog_request(lines=None, since=line["timestamp"]).since == moment


# ---- Frames --------------------------------------------------------------------------------------


def shown(frames: Any) -> list[dict[str, Any]]:
    """Read frames as a viewer does."""
    found = []
    for frame in frames:
        assert len(frame.encode()) <= frame_rules.LARGEST_FRAME < FRAME
        said = json.loads(frame)
        assert (said["type"], set(said)) == ("log", {"type", "service", "lines"})
        assert said["lines"]
        found += said["lines"]
    return found


def joined(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Join the parts of divided lines."""
    whole: dict[str, str] = {}
    for line in lines:
        name, _, number = line["id"].partition(".")
        if "part" in line:
            assert line["part"] == int(number or 0) <= line["parts"]
        whole[name] = whole.get(name, "") + line["message"]
    return list(whole.items())


@given(st.lists(st.tuples(TEXT, st.sampled_from([1, 1, 1, 2_000])), max_size=4))
def test_frames_stay_within_their_size_limit_and_lose_no_line(texts: list[tuple[str, int]]) -> None:
    lines = [Line(f"{n}-{n:016x}-999999", n, text * times) for n, (text, times) in enumerate(texts)]
    got = shown(frame_rules.log_frames(LONGEST_NAME, lines))
    # Halves of a pair that stand side by side are read as the one character that they are.
    read = [(name, _pair(message)) for name, message in joined(got)]
    assert read == [(line.id, _pair(line.message)) for line in lines]


def _pair(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@pytest.mark.parametrize("character", ["x", "\x00", "😀", "\ud800"])
def test_a_line_of_a_megabyte_is_sent_in_parts(character: str) -> None:
    text = character * (1024 * 1024 // len(character.encode("utf-8", "surrogatepass")))
    line = Line(f"{'9' * 15}-{'f' * 16}-999999", 10**15 - 1, text)
    got = shown(frame_rules.log_frames(LONGEST_NAME, [line]))
    assert len(got) == got[0]["parts"] > 30
    assert [part["part"] for part in got] == [*range(1, len(got) + 1)]
    assert "".join(part["message"] for part in got) == text


@pytest.mark.parametrize("length", [31_496, 31_497, 31_498, 31_499, 31_500, 62_996, 62_997])
def test_a_line_near_the_size_limit_is_sent_once(length: int) -> None:
    parts = list(frame_rules.split(Line("1-0", 1, "x" * length)))
    assert "".join(part.message for part in parts) == "x" * length
    assert [again for part in parts for again in frame_rules.split(part)] == parts
    assert (len(parts) > 1) == (length > frame_rules._MOST_OF_A_LINE - 2)  # noqa: SLF001 - its quotes


def test_a_frame_is_filled_up_to_its_size_limit() -> None:
    lines = [Line(f"{n}-{n:016x}", n, "x" * 100) for n in range(1_000)]
    sizes = [len(frame) for frame in frame_rules.log_frames("s", lines)]
    assert min(sizes[:-1]) > 31_000


def test_frames_without_lines_are_json_too() -> None:
    told = [
        frame_rules.PING,
        frame_rules.notice_frame('a "b"'),
        frame_rules.exit_frame("c"),
        frame_rules.empty_frame("s"),
    ]
    assert [json.loads(frame) for frame in told] == [
        {"type": "ping"},
        {"type": "notice", "message": 'a "b"'},
        {"type": "exit", "reason": "c"},
        {"type": "log", "service": "s", "lines": []},
    ]


# ---- Tasks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [Open("/g", "c="), Poll("/g", 3), CatchUp("/g", "c=", 1, 2, ["1-a", "2-b"])],
)
def test_a_task_survives_encoding_and_parsing(task: Any) -> None:
    assert message_rules.parse_task(message_rules.task_body(task)) == task


# ---- What is due ---------------------------------------------------------------------------------

WATCH = Watch("/g", viewers=1, filter="f", filter_at=NOW, tried_at=NOW, cursor=AT)
VIEWER = Viewer("c", "/g", "s", "a", "k", "d", BacklogRequest(), NOW, NOW)


@pytest.mark.parametrize(
    ("watch", "after", "needed"),
    [
        (WATCH, 0, True),
        (WATCH, MINUTE - 1, True),
        (WATCH, MINUTE, False),
        (replace(WATCH, viewers=0), 0, False),
        (replace(WATCH, delivered_at=AT), 0, False),
        (replace(WATCH, filter_at=None), 60 * MINUTE, True),
        (replace(WATCH, filter_at=None, viewers=0), 0, False),
    ],
)
def test_polls_continue_until_the_filter_delivers_or_for_a_minute(
    watch: Watch, after: int, *, needed: bool
) -> None:
    assert rules.is_poll_needed(watch, NOW + after) is needed


@pytest.mark.parametrize(
    ("watch", "after", "due"),
    [
        (replace(WATCH, polling=True, polled_at=NOW), 30 * SECOND - 1, False),
        (replace(WATCH, polling=True, polled_at=NOW), 30 * SECOND, True),
        (replace(WATCH, polling=True, polled_at=NOW, delivered_at=AT), 30 * SECOND, True),
        (replace(WATCH, polling=True, polled_at=NOW, viewers=0), 30 * SECOND, False),
        (replace(WATCH, filter_at=None), 0, True),
        (replace(WATCH, filter_at=None, cursor=0), 0, False),
        (WATCH, MINUTE, False),
    ],
)
def test_a_dead_chain_of_polls_is_restarted(watch: Watch, after: int, *, due: bool) -> None:
    assert rules.is_polling_due(watch, NOW + after) is due


def test_a_restarted_chain_continues_where_the_dead_one_stopped() -> None:
    long_ago = replace(WATCH, cursor=AT - 3_600_000)
    assert rules.resume_at(replace(long_ago, polling=True), NOW) == AT - 3_600_000
    assert rules.resume_at(long_ago, NOW) == AT - 600_000
    assert rules.resume_at(WATCH, NOW) == AT


@pytest.mark.parametrize(
    ("watch", "after", "due"),
    [
        (replace(WATCH, filter_at=None), 30 * SECOND - 1, False),
        (replace(WATCH, filter_at=None), 30 * SECOND, True),
        (WATCH, 10 * MINUTE - 1, False),
        (WATCH, 10 * MINUTE, True),
        (replace(WATCH, viewers=0), 10 * MINUTE, False),
        (replace(WATCH, filter_at=None, viewers=0), MINUTE, False),
    ],
)
def test_a_filter_is_retried_every_30_seconds_and_renewed_every_10_minutes(
    watch: Watch, after: int, *, due: bool
) -> None:
    assert rules.is_filter_due(watch, NOW + after) is due


def test_a_watch_is_idle_two_minutes_after_its_last_viewer() -> None:
    left = replace(WATCH, viewers=0, left_at=NOW)
    assert not rules.is_idle(left, NOW + 2 * MINUTE - 1)
    assert rules.is_idle(left, NOW + 2 * MINUTE)
    assert not rules.is_idle(replace(left, viewers=1), NOW + 60 * MINUTE)


def test_a_socket_ends_two_minutes_before_api_gateway_s_limit() -> None:
    assert rules.end_reason(VIEWER, NOW + 118 * MINUTE - 1) is None
    assert "since" in (rules.end_reason(VIEWER, NOW + 118 * MINUTE) or "")


def test_a_poll_looks_back_ten_seconds_but_not_before_its_chain() -> None:
    assert rules.poll_start(WATCH) == AT - 10_000
    assert rules.poll_start(replace(WATCH, since=AT - 3_000)) == AT - 3_000
    many = tuple(f"{AT - 5_000 + n}-x" for n in range(rules.MOST_SEEN))
    assert rules.poll_start(replace(WATCH, seen=many)) == AT - 5_000
    assert rules.poll_start(replace(WATCH, seen=many[1:])) == AT - 10_000


@given(st.lists(st.integers(AT - 20_000, AT + 5_000)), st.lists(st.integers(AT - 20_000, AT)))
def test_ids_that_the_next_poll_can_find_are_remembered(known: list[int], sent: list[int]) -> None:
    before = [f"{at}-k{n}" for n, at in enumerate(known)]
    lines = [Line(f"{at}-s{n}", at, "x") for n, at in enumerate(sent)]
    kept = rules.ids_to_remember(before, lines, cursor=AT)
    every = [*before, *(line.id for line in lines)]
    assert set(kept) == {name for name in every if line_rules.time_of(name) >= AT - 10_000}
    assert [line_rules.time_of(name) for name in kept] == sorted(map(line_rules.time_of, kept))


def test_only_the_newest_ids_are_remembered_above_the_limit() -> None:
    lines = [Line(f"{AT + n}-x", AT + n, "x") for n in range(rules.MOST_SEEN + 5)]
    kept = rules.ids_to_remember([], reversed(lines), cursor=AT)
    assert kept == tuple(line.id for line in lines[5:])


@pytest.mark.parametrize(
    ("wanted", "count", "oldest"),
    [
        (BacklogRequest(3), 3, AT - 3),
        (BacklogRequest(3), 2, 0),
        (BacklogRequest(3), 0, 0),
        (BacklogRequest(0), 0, AT),
        (BacklogRequest(3, since=5), 3, 0),
    ],
)
def test_a_catch_up_sends_no_lines_older_than_the_backlog(
    wanted: BacklogRequest, count: int, oldest: int
) -> None:
    lines = [Line(f"{AT - n}-x", AT - n, "x") for n in range(count, 0, -1)]
    assert rules.oldest_wanted(replace(VIEWER, backlog=wanted), lines) == oldest


def test_lines_with_one_timestamp_keep_their_order() -> None:
    lines = [Line("1-a", 2, "b"), Line("1-b", 1, "a"), Line("1-c", 2, "c"), Line("1-d", 1, "d")]
    assert [line.message for line in line_rules.by_time(lines)] == ["a", "d", "b", "c"]
