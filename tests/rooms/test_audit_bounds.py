"""Audit events field by field, and the exact problems that a verification reports."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from gatehouse.audit import rules
from gatehouse.audit.model import GENESIS, Change, Event, Head, Origin, Problem

NOON = 1_800_000_000_000_000
FIRST = "01a3185c-5000-7000-8000-000000000000"  # its time is NOON
ORIGIN = Origin("identity:i", "r1", "203.0.113.7", "api_key:k")


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The times of new ids; each id is FIRST, with the number of its call as the last digit."""
    made: list[int] = []

    def new(moment: int, *, second: bool) -> str:
        assert second
        made.append(moment)
        return FIRST[:-1] + str(len(made))

    monkeypatch.setattr(rules.ids, "new_of_two", new)
    return made


def test_an_event_has_exactly_the_published_fields(moments: list[int]) -> None:
    before = MappingProxyType({"list": (1, 2), "inner": MappingProxyType({"a": 1})})
    change = Change("key.update", "key:1", before, {"n": 2})
    event, head = rules.link(Head(7, "h7", "0"), change, origin=ORIGIN, now=NOON)
    digest = event.pop("hash")
    assert event == {
        "id": f"audit:{FIRST[:-1]}1",
        "seq": 8,
        "action": "key.update",
        "actor": "identity:i",
        "via": "api_key:k",
        "target": "key:1",
        "source_address": "203.0.113.7",
        "request_id": "r1",
        "created_at": "2027-01-15T08:00:00.000Z",
        "before": {"list": [1, 2], "inner": {"a": 1}},
        "after": {"n": 2},
        "prev_hash": "h7",
    }
    assert digest == rules.hash_of(event)
    assert len(digest) == 64
    assert head == Head(8, digest, f"{FIRST[:-1]}1")
    assert moments == [NOON]


def test_an_event_without_a_state_has_null_there(moments: list[int]) -> None:
    event, _ = rules.link(Head(), Change("a.b", "x:1"), origin=Origin("anonymous", "r"), now=NOON)
    empty = ("before", "after", "via", "source_address")
    assert [event[name] for name in empty] == [None] * 4
    assert moments == [NOON]


@pytest.mark.parametrize(
    ("last", "digit", "asked"),
    [
        (f"{FIRST[:-1]}0", "1", [NOON - 5]),
        (f"{FIRST[:-1]}1", "2", [NOON - 5, NOON + 1_000]),
        (f"{FIRST[:-1]}2", "2", [NOON - 5, NOON + 1_000]),
    ],
)
def test_an_id_that_does_not_sort_after_the_last_is_a_millisecond_later(
    moments: list[int], last: str, digit: str, asked: list[int]
) -> None:
    event, head = rules.link(Head(1, "h", last), Change("a.b", "x:1"), origin=ORIGIN, now=NOON - 5)
    assert (event["id"], head.last_id) == (f"audit:{FIRST[:-1]}{digit}", FIRST[:-1] + digit)
    assert moments == asked


def _event(seq: Any, prev: str, **fields: Any) -> Event:
    event = {"id": f"e{seq}", "seq": seq, "prev_hash": prev, **fields}
    return {**event, "hash": rules.hash_of(event)}


ONE = _event(1, GENESIS)
TWO = _event(2, ONE["hash"])
THREE = _event(3, TWO["hash"])
NO_MATCH = "the event does not match its hash"


@pytest.mark.parametrize(
    ("events", "head", "problems"),
    [
        ([], None, []),
        ([], Head(), []),
        ([ONE, TWO, THREE], None, []),
        ([ONE, TWO, THREE], Head(3, THREE["hash"]), []),
        ([ONE, TWO, THREE], Head(1, ONE["hash"]), []),
        ([ONE], Head(0, "other"), []),
        ([{**ONE, "x": 1}], None, [Problem("edited", 1, "e1", NO_MATCH)]),
        (
            [{"seq": 1}],
            None,
            [
                Problem("edited", 1, None, NO_MATCH),
                Problem("broken", 1, None, "prev_hash is not the hash of the event before"),
            ],
        ),
        ([TWO], None, [Problem("gap", 2, "e2", "expected event 1 here, found event 2")]),
        (
            [ONE, THREE],
            None,
            [Problem("gap", 3, "e3", "expected event 2 here, found event 3")],
        ),
        (
            [_event("1", GENESIS)],
            None,
            [Problem("gap", -1, "e1", "expected event 1 here, found event -1")],
        ),
        (
            [_event("1", GENESIS), _event(0, "p")],
            None,
            [
                Problem("gap", -1, "e1", "expected event 1 here, found event -1"),
                Problem("broken", 0, "e0", "prev_hash is not the hash of the event before"),
            ],
        ),
        (
            [ONE, _event(2, "p")],
            None,
            [Problem("broken", 2, "e2", "prev_hash is not the hash of the event before")],
        ),
        (
            [],
            Head(1, "h"),
            [
                Problem(
                    *("truncated", 1, None),
                    "the chain ends at event 0, before the saved head 1",
                )
            ],
        ),
        (
            [ONE, TWO],
            Head(3, THREE["hash"]),
            [
                Problem(
                    *("truncated", 3, None),
                    "the chain ends at event 2, before the saved head 3",
                )
            ],
        ),
        (
            [ONE, TWO],
            Head(1, "other"),
            [Problem("truncated", 1, None, "event 1 has another hash than the saved head")],
        ),
    ],
)
def test_a_verification_reports_exactly_these_problems(
    events: list[Event], head: Head | None, problems: list[Problem]
) -> None:
    assert rules.verify(events, head) == problems


def test_the_head_of_a_chain_is_its_last_event() -> None:
    assert rules.head_after([]) == Head(0, "0" * 64, "")
    assert rules.head_after([ONE, TWO]) == Head(2, TWO["hash"], "")
