"""Log lines, query parameters, pushes and tasks of live logs at the exact bounds."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from typing import Any

import pytest

from gatehouse.core.errors import BadInput
from gatehouse.logs import line_rules, message_rules
from gatehouse.logs.model import BacklogRequest, CatchUp, Line, Open, Poll, PushedLines, Task

# ---- Lines and what a viewer asks --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "a"),
        ("a\n", "a"),
        ("a\r", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("a\r\r\n", "a\r"),
        ("a\n\r", "a\n"),
        ("a ", "a "),
        ("", ""),
    ],
)
def test_one_line_end_is_removed(text: str, message: str) -> None:
    assert [line.message for line in line_rules.with_ids("s", [(1, text)])] == [message]


def test_the_second_equal_line_has_number_2() -> None:
    events = [(1_795_253_400_123, "order 1 shipped")] * 3

    assert [line.id for line in line_rules.with_ids("2026/11/21/[$LATEST]0", events)] == [
        "1795253400123-496fa64b7ff99330",
        "1795253400123-496fa64b7ff99330-2",
        "1795253400123-496fa64b7ff99330-3",
    ]
    assert line_rules.time_of("1795253400123-496fa64b7ff99330-2.3") == 1_795_253_400_123


@pytest.mark.parametrize(
    ("since", "at"),
    [
        ("9" * 15 + "-0123456789abcdef", 999_999_999_999_999),
        ("9" * 16 + "-0123456789abcdef", None),
        ("0-0123456789abcdef", 0),
        ("7-0123456789abcdef-123456", 7),
        ("7-0123456789abcdef-1234567", None),
        ("7-0123456789abcdef.1234", 7),
        ("7-0123456789abcdef.12345", None),
        ("7-0123456789abcdef-123456.1234", 7),
        ("7-0123456789abcdef0", None),
        ("7-0123456789abcde", None),
        ("1970-01-01T00:00:00.000999Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1969-12-31T23:59:59.999Z", 0),
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
    ],
)
def test_since_is_an_id_or_a_time(since: str, at: int | None) -> None:
    if at is not None:
        assert line_rules.parse_backlog_request(lines=None, since=since) == BacklogRequest(500, at)
        return
    with pytest.raises(BadInput) as refused:
        line_rules.parse_backlog_request(lines=None, since=since)
    assert str(refused.value) == "since must be the id of a line or an RFC 3339 timestamp"
    assert refused.value.details == {"field": "since"}


def test_a_viewer_may_ask_for_1000_lines_but_not_1001() -> None:
    assert line_rules.parse_backlog_request(lines="1000", since=None) == BacklogRequest(1_000)
    assert line_rules.parse_backlog_request(lines="999", since="7-" + "0" * 16) == BacklogRequest(
        999, 7
    )
    with pytest.raises(BadInput) as refused:
        line_rules.parse_backlog_request(lines="1001", since=None)
    assert str(refused.value) == "lines must be 0 to 1000"


# ---- Pushes and tasks --------------------------------------------------------------------------


PUSH: dict[str, Any] = {
    "messageType": "DATA_MESSAGE",
    "logGroup": "/g",
    "logStream": "2026/11/21/[$LATEST]0",
    "subscriptionFilters": ["f", "g"],
    "logEvents": [
        {"timestamp": 1_795_253_400_124, "message": ""},
        {"timestamp": 1_795_253_400_123, "message": "order 1 shipped\n"},
    ],
}


def _packed(push: object) -> str:
    return base64.b64encode(gzip.compress(json.dumps(push).encode())).decode()


def test_a_push_is_parsed_and_its_lines_are_sorted() -> None:
    pushed = message_rules.parse_push(_packed(PUSH))

    assert pushed is not None
    first, second = pushed.lines
    assert first == Line("1795253400123-496fa64b7ff99330", 1_795_253_400_123, "order 1 shipped")
    assert (second.at, second.message) == (1_795_253_400_124, "")
    assert pushed == PushedLines("/g", "2026/11/21/[$LATEST]0", ("f", "g"), (first, second))


@pytest.mark.parametrize("field", PUSH)
def test_a_push_without_one_of_its_fields_is_refused(field: str) -> None:
    rest = {name: value for name, value in PUSH.items() if name != field}

    with pytest.raises(ValueError, match=r"^data must be a message of CloudWatch Logs$"):
        message_rules.parse_push(_packed(rest))


def test_only_gzip_is_accepted_and_with_its_largest_window() -> None:
    far = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(480))
    events = [{"timestamp": 1, "message": far * 2}]
    text = json.dumps(PUSH | {"logEvents": events}).encode()

    pushed = message_rules.parse_push(base64.b64encode(gzip.compress(text)).decode())

    assert pushed is not None
    assert pushed.lines[0].message == far * 2
    with pytest.raises(ValueError, match="must be a message of CloudWatch Logs"):
        message_rules.parse_push(base64.b64encode(zlib.compress(text)).decode())


def test_a_push_may_have_64_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert message_rules._LARGEST_PUSH == 67_108_864  # noqa: SLF001 - too large to send in a test
    size = len(json.dumps(PUSH))

    monkeypatch.setattr(message_rules, "_LARGEST_PUSH", size)
    assert message_rules.parse_push(_packed(PUSH)) is not None
    monkeypatch.setattr(message_rules, "_LARGEST_PUSH", size - 1)
    with pytest.raises(ValueError, match="must be a message of CloudWatch Logs"):
        message_rules.parse_push(_packed(PUSH))


@pytest.mark.parametrize(
    ("task", "body"),
    [
        (Open("/g", "c="), '{"do":"open","group":"/g","connection":"c="}'),
        (Poll("/g", 3), '{"do":"poll","group":"/g","turn":3}'),
        (
            CatchUp("/g", "c=", 1, 2, ["1-a"]),
            '{"do":"catch_up","group":"/g","connection":"c=","since":1,"until":2,"known":["1-a"]}',
        ),
    ],
)
def test_a_task_has_exactly_this_body(task: Task, body: str) -> None:
    assert message_rules.task_body(task) == body
    assert message_rules.parse_task(body) == task
