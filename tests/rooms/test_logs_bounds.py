"""Live logs at the exact bounds: when polls, filters and sockets are due, and frames."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gatehouse.logs import frame_rules, rules
from gatehouse.logs.model import BacklogRequest, Line, Viewer, Watch

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_800_000_000 * SECOND
AT = 1_800_000_000_000
WATCH = Watch("/g", viewers=1, filter="f", filter_at=NOW, tried_at=NOW, cursor=AT)
VIEWER = Viewer("c", "/g", "s", "a", "k", "d", BacklogRequest(), NOW, NOW)


# ---- What is due -------------------------------------------------------------------------------


def test_times_and_limits_of_live_logs_have_these_values() -> None:
    assert (rules.SEARCH_LAG, rules.OVERLAP) == (10_000, 60_000)
    assert (rules.MOST_SEEN, rules.MOST_RESUMED) == (2_000, 10_000)
    assert (rules.POLLED_FOR, rules.POLL_EVERY, rules.POLL_STUCK) == (MINUTE, 2, 30 * SECOND)
    assert (rules.RETRY_FILTER, rules.RENEW_FILTER) == (30 * SECOND, 10 * MINUTE)
    assert (rules.IDLE, rules.POLLS_REACH_BACK) == (2 * MINUTE, 10 * MINUTE)
    assert (rules.PING_EVERY, rules.BACKLOG_OVERDUE) == (5 * MINUTE, MINUTE)
    assert rules.SOCKET_LIFE == 7_080 * SECOND


@pytest.mark.parametrize(
    ("watch", "after", "due"),
    [
        (WATCH, MINUTE - 1, True),
        (WATCH, MINUTE, False),
        (replace(WATCH, cursor=1), 0, True),
        (replace(WATCH, cursor=0), 0, False),
        (replace(WATCH, delivered_at=0), 0, False),
        (replace(WATCH, viewers=0), 0, False),
        (replace(WATCH, viewers=0, filter_at=None), 0, False),
        (replace(WATCH, polling=True, polled_at=NOW, cursor=0), 30 * SECOND, True),
        (replace(WATCH, polling=True, polled_at=NOW, filter_at=None), 30 * SECOND - 1, False),
    ],
)
def test_polls_are_started_only_for_a_group_that_needs_them(
    watch: Watch, after: int, *, due: bool
) -> None:
    assert rules.is_polling_due(watch, NOW + after) is due


@pytest.mark.parametrize(
    ("cursor", "polling", "now", "expected"),
    [
        (AT - 600_001, False, NOW, AT - 600_000),
        (AT - 600_000, False, NOW, AT - 600_000),
        (AT - 599_999, False, NOW, AT - 599_999),
        (AT - 600_001, True, NOW, AT - 600_001),
        (0, False, NOW + 999, AT - 600_000),
        (0, False, NOW + 1_000, AT - 599_999),
        (0, True, NOW, 0),
    ],
)
def test_new_polls_read_at_most_the_last_ten_minutes(
    cursor: int,
    polling: bool,  # noqa: FBT001 - a column of the table
    now: int,
    expected: int,
) -> None:
    assert rules.resume_at(replace(WATCH, cursor=cursor, polling=polling), now) == expected


@pytest.mark.parametrize(
    ("filter_at", "after", "due"),
    [
        (NOW - 60 * MINUTE, 10 * MINUTE - 1, False),
        (NOW - 60 * MINUTE, 10 * MINUTE, True),
        (0, 30 * SECOND, False),
        (None, 30 * SECOND - 1, False),
        (None, 30 * SECOND, True),
    ],
)
def test_a_filter_is_due_counted_from_when_it_was_last_tried(
    filter_at: int | None, after: int, *, due: bool
) -> None:
    assert rules.is_filter_due(replace(WATCH, filter_at=filter_at), NOW + after) is due


@pytest.mark.parametrize(
    ("first_seen", "count", "start"),
    [
        (AT - 9_999, 1_999, AT - 10_000),
        (AT - 9_999, 2_000, AT - 9_999),
        (AT - 9_999, 2_001, AT - 9_999),
        (AT - 10_001, 2_000, AT - 10_000),
    ],
)
def test_a_poll_reads_from_its_oldest_id_once_it_knows_2000(
    first_seen: int, count: int, start: int
) -> None:
    seen = (f"{first_seen}-a", *(f"{AT}-b{number}" for number in range(count - 1)))

    assert rules.poll_start(replace(WATCH, seen=seen)) == start


def test_a_poll_reads_no_line_from_before_since() -> None:
    assert rules.poll_start(replace(WATCH, since=AT - 10_001)) == AT - 10_000
    assert rules.poll_start(replace(WATCH, since=AT - 9_999)) == AT - 9_999


@pytest.mark.parametrize(
    ("wanted", "count", "oldest"),
    [
        (BacklogRequest(2), 1, 0),
        (BacklogRequest(2), 2, 7),
        (BacklogRequest(2), 3, 7),
        (BacklogRequest(1), 0, 0),
        (BacklogRequest(1), 1, 7),
        (BacklogRequest(0), 1, AT),
        (BacklogRequest(0, since=0), 1, 0),
        (BacklogRequest(1, since=0), 1, 0),
    ],
)
def test_a_full_backlog_ends_at_its_first_line(
    wanted: BacklogRequest, count: int, oldest: int
) -> None:
    viewer = replace(VIEWER, backlog=wanted, opened_at=NOW + 999)
    lines = [Line(f"{7 + number}-a", 7 + number, "x") for number in range(count)]

    assert rules.oldest_wanted(viewer, lines) == oldest


def test_ids_are_remembered_once_by_time_from_ten_seconds_before_the_cursor() -> None:
    known = [f"{AT}-k", f"{AT - 10_001}-k", f"{AT - 10_000}-k"]
    sent = [Line(name, AT, "x") for name in (f"{AT}-s", f"{AT}-k", f"{AT - 9_999}-s")]

    assert rules.ids_to_remember(known, sent, cursor=AT) == (
        f"{AT - 10_000}-k",
        f"{AT - 9_999}-s",
        f"{AT}-k",
        f"{AT}-s",
    )


@pytest.mark.parametrize(("count", "first"), [(1_999, 0), (2_000, 0), (2_001, 1)])
def test_at_most_2000_ids_are_remembered(count: int, first: int) -> None:
    known = [f"{AT + number}-k" for number in range(count)]

    assert rules.ids_to_remember(known, [], cursor=AT) == tuple(known[first:])


def test_a_socket_that_is_118_minutes_old_ends_with_this_reason() -> None:
    reason = "The socket reached its limit of two hours. Reconnect with ?since=<last id>."

    assert rules.end_reason(VIEWER, NOW + 7_080 * SECOND) == reason
    assert rules.end_reason(VIEWER, NOW + 7_080 * SECOND - 1) is None


@pytest.mark.parametrize(
    ("viewers", "after", "idle"),
    [(0, 2 * MINUTE - 1, False), (0, 2 * MINUTE, True), (1, 2 * MINUTE, False)],
)
def test_a_group_without_viewers_is_idle_after_two_minutes(
    viewers: int, after: int, *, idle: bool
) -> None:
    assert rules.is_idle(replace(WATCH, viewers=viewers, left_at=NOW), NOW + after) is idle


# ---- Frames ------------------------------------------------------------------------------------


def test_frames_have_exactly_this_text() -> None:
    lines = [Line("1-a", 1, 'x"'), Line("2-b.2", 2_500, "é", 2, 2)]

    (frame,) = frame_rules.log_frames('s"', lines)
    assert frame == (
        r'{"type":"log","service":"s\"","lines":['
        r'{"id":"1-a","timestamp":"1970-01-01T00:00:00.001Z","message":"x\""},'
        r'{"id":"2-b.2","timestamp":"1970-01-01T00:00:02.500Z","message":"\u00e9",'
        r'"part":2,"parts":2}]}'
    )
    assert frame_rules.empty_frame("s") == '{"type":"log","service":"s","lines":[]}'
    assert frame_rules.notice_frame("n") == '{"type": "notice", "message": "n"}'
    assert frame_rules.exit_frame("e") == '{"type": "exit", "reason": "e"}'
    assert frame_rules.PING == '{"type":"ping"}'
    assert list(frame_rules.log_frames("s", [])) == []


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (253_402_300_798_999, "9999-12-31T23:59:58.999Z"),
        (253_402_300_799_000, "9999-12-31T23:59:59.000Z"),
        (253_402_300_799_001, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_a_line_is_shown_at_the_latest_time_that_can_be_written(at: int, shown: str) -> None:
    (frame,) = frame_rules.log_frames("s", [Line("1-a", at, "x")])

    assert json.loads(frame)["lines"] == [{"id": "1-a", "timestamp": shown, "message": "x"}]


# The text of a line with the id 1-a is 64 bytes longer than its message. A frame is counted as
# 300 bytes and each line as one more, so that two lines may have messages of 31,570 bytes.
@pytest.mark.parametrize(
    ("lengths", "frames"),
    [
        ([15_785, 15_785], [2]),
        ([15_785, 15_786], [1, 1]),
        ([15_785, 15_786, 15_784], [1, 2]),
        ([15_785, 15_786, 15_785], [1, 1, 1]),
        ([15_785, 15_785, 1], [2, 1]),
        ([10_501, 10_502, 10_502], [3]),
        ([10_502, 10_502, 10_502], [2, 1]),
    ],
)
def test_a_frame_is_full_at_its_bound_and_the_next_starts_beyond_it(
    lengths: list[int], frames: list[int]
) -> None:
    lines = [Line("1-a", 1, "x" * length) for length in lengths]

    found = [json.loads(frame)["lines"] for frame in frame_rules.log_frames("s", lines)]

    assert [len(one) for one in found] == frames
    assert [len(line["message"]) for one in found for line in one] == lengths


def test_a_line_that_is_too_long_for_any_frame_has_no_empty_frame_before_it() -> None:
    (frame,) = frame_rules.log_frames("s", [Line("1" * 500, 1, "x" * 31_498)])

    assert len(json.loads(frame)["lines"]) == 1


@pytest.mark.parametrize(
    ("message", "pieces"),
    [
        ("x" * 31_498, [31_498]),
        ("x" * 31_499, [31_498, 1]),
        ("x" * 62_996, [31_498, 31_498]),
        ("x" * 62_997, [31_498, 31_498, 1]),
        ("\x00" * 5_249, [5_249]),
        ("\x00" * 5_250, [5_249, 1]),
        ("xxxx" + "\x00" * 5_249, [5_253]),
        ("xxxxx" + "\x00" * 5_249, [5_253, 1]),
        ("😀" * 2_624, [2_624]),
        ("😀" * 2_625, [2_624, 1]),
    ],
)
def test_a_line_is_divided_by_the_bytes_of_its_json(message: str, pieces: list[int]) -> None:
    line = Line("1-a", 5, message)

    parts = list(frame_rules.split(line))

    assert [len(part.message) for part in parts] == pieces
    assert "".join(part.message for part in parts) == message
    numbers = [(part.id, part.at, part.part, part.parts) for part in parts]
    if len(pieces) == 1:
        assert numbers == [("1-a", 5, 1, 1)]
    else:
        count = len(pieces)
        assert numbers == [(f"1-a.{n}", 5, n, count) for n in (1, 2, 3)][:count]
