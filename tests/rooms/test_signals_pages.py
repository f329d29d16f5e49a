"""Pages of signals: newest first over all lanes, in bounded reads, without gaps."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.core import ids
from gatehouse.core.clock import DAY, SECOND
from gatehouse.core.errors import NotFound
from gatehouse.dynamo.table import Tables
from gatehouse.signals import actions as signals
from support.actors.emitter import emit, stored
from support.actors.visitor import Visitor, visitor
from support.aws.faults import Wire


def _query(**fields: Any) -> dict[str, Any]:
    return {"type": None, "ring": None, "limit": 50, "before": None, **fields}


def _walk(caller: Visitor, **fields: Any) -> tuple[list[str], int]:
    """Follow the cursors to the end; give the ids and the number of pages."""
    signal_ids: list[str] = []
    before, pages = None, 0
    while True:
        page, before = signals.page(
            caller.tables.main, caller.call(), **_query(**fields | {"before": before})
        )
        signal_ids += [one.id for one in page]
        pages += 1
        if before is None:
            return signal_ids, pages
        assert pages < 200, "it never ends"


def test_an_empty_account_needs_one_read_for_each_lane(tables: Tables, room_line: Wire) -> None:
    caller = visitor(tables)
    room_line.clear()
    assert signals.page(tables.main, caller.call(), **_query()) == ([], None)
    assert room_line.calls == ["Query"] * 16


def test_a_page_reads_its_lanes_once_whatever_the_age_of_its_signals(
    aws: pytest.MonkeyPatch, tables: Tables, room_line: Wire
) -> None:
    caller = visitor(tables)
    with aws.context() as patch:
        patch.setenv("GATEHOUSE_SIGNAL_DAYS", "365")
        every = []
        for _ in range(3):
            every.insert(0, emit(caller).id)
            caller.now += 180 * DAY
        room_line.clear()
        page, following = signals.page(tables.main, caller.call(), **_query())
    assert ([one.id for one in page], following) == (every[:2], None), "the oldest has expired"
    assert room_line.calls == ["Query"] * 16 + ["BatchGetItem"]


def test_pages_merge_the_lanes_by_time_without_gaps(tables: Tables) -> None:
    caller = visitor(tables)
    every = []
    for _ in range(150):
        every.insert(0, emit(caller).id)
        caller.now += 1_000
    assert len({item["pk"] for item in stored(tables)}) == 16
    for limit, pages in ((1, 150), (7, 22), (149, 2), (150, 1)):
        assert _walk(caller, limit=limit) == (every, pages)


@pytest.mark.parametrize("limit", [1, 3, 50])
def test_filtered_pages_may_be_short_but_have_no_gaps(tables: Tables, limit: int) -> None:
    caller = visitor(tables)
    wanted = []
    for number in range(24):
        kind = "task" if number % 5 == 0 else "pulse"
        signal = emit(caller, signal_type=kind, to_ring="a" if number % 2 else "b")
        if kind == "task" and signal.to_ring == "a":
            wanted.insert(0, signal.id)
        caller.now += 5 * 3_600 * SECOND
    assert wanted
    assert _walk(caller, type="task", ring="a", limit=limit)[0] == wanted


def test_a_page_reads_a_bounded_number_of_signals(
    monkeypatch: pytest.MonkeyPatch, tables: Tables
) -> None:
    caller = visitor(tables)
    every = []
    for _ in range(12):
        every.insert(0, emit(caller).id)
        caller.now += 1_000
    monkeypatch.setattr(signals, "_MOST_SIGNALS", 5)
    page, before = signals.page(tables.main, caller.call(), **_query(type="task", limit=2))
    assert page == []
    assert before is not None
    assert before > every[-1], "the cursor leads to more"
    assert _walk(caller, limit=2)[0] == every


def test_a_page_of_large_signals_is_short(tables: Tables) -> None:
    caller = visitor(tables)
    every = []
    for _ in range(10):
        every.insert(0, emit(caller, content="x" * 65_536, payload={"x": "y" * 60_000}).id)
        caller.now += 1_000
    page, before = signals.page(tables.main, caller.call(), **_query())
    assert [one.id for one in page] == every[:4]
    assert before == every[3]
    assert _walk(caller)[0] == every


def test_a_cursor_in_the_future_starts_today(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    ahead = ids.lowest(caller.now + 1_000 * DAY)
    assert signals.page(tables.main, caller.call(), **_query(before=ahead)) == ([signal], None)
    assert signals.page(tables.main, caller.call(), **_query(before=ids.lowest(0))) == ([], None)


def test_an_expired_signal_is_not_found_before_ttl_deletes_it(tables: Tables) -> None:
    caller = visitor(tables)
    signal = emit(caller)
    caller.now = signal.expires_at
    assert signals.find(tables.main, caller.account_id, signal.id, now=caller.now) is None
    assert signals.page(tables.main, caller.call(), **_query()) == ([], None)
    with pytest.raises(NotFound):
        signals.get(tables.main, caller.call(), signal.id)
    assert len(stored(tables)) == 1
