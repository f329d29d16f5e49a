"""The audit chain: its published format, and that every kind of tampering is found."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.audit import actions, rules, store
from gatehouse.audit.model import GENESIS, MOST_WRITES, Chain, Change, Event, Head, Origin
from gatehouse.core import ids
from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import RateLimited, Unavailable
from gatehouse.core.request import Counted
from gatehouse.dynamo.table import Tables
from support.aws.faults import Wire, conflict_in_transaction, error, first
from support.checks.inspection import events as stored_events

NOW = 1_800_000_000 * SECOND
ORIGIN = Origin(actor="identity:i", request_id="r", source_address="203.0.113.7", via="api_key:k")


def _chain(length: int) -> tuple[list[Event], Head]:
    head, events = Head(), []
    for number in range(length):
        change = Change("api_key.update", f"api_key:{number}", {"n": number}, {"n": number + 1})
        event, head = rules.link(head, change, origin=ORIGIN, now=NOW + number * SECOND)
        events.append(event)
    return events, head


def test_the_hash_of_an_event_never_changes() -> None:
    """Pinned: exports are verified offline, years later and by other people's code."""
    event: Event = {
        "id": "audit:0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e",
        "seq": 1,
        "action": "api_key.create",
        "actor": "identity:0190a3c4-7d52-7b1e-9c1e-000000000001",
        "via": None,
        "target": "api_key:0190a3c4-7d52-7b1e-9c1e-000000000002",
        "source_address": "203.0.113.7",
        "request_id": "request-1",
        "created_at": "2026-01-31T09:30:00.250Z",
        "before": None,
        "after": {"name": "ünï ☃", "scopes": ["*"], "rate_limit": 6000, "enabled": True},
        "prev_hash": GENESIS,
    }
    assert rules.hash_of(event) == (
        "5c240f2f710eab8bbc2de7584ad73d48" + "0e8a908576ae4514a970d6a28726337c"
    )
    assert rules.hash_of({**event, "hash": "whatever"}) == rules.hash_of(event)


def test_a_chain_starts_with_64_zeros_and_number_one() -> None:
    events, head = _chain(3)
    assert events[0]["prev_hash"] == "0" * 64
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert events[2]["prev_hash"] == events[1]["hash"]
    assert head == Head(3, events[2]["hash"], events[2]["id"].removeprefix("audit:"))
    assert rules.verify(events, head) == []
    assert rules.verify([], Head()) == []


@given(st.lists(st.integers(-5 * SECOND, 5 * SECOND), min_size=2, max_size=30))
def test_ids_sort_in_chain_order_even_with_wrong_clocks(steps: list[int]) -> None:
    head, now, names = Head(), NOW, []
    for step in steps:
        now += step
        event, head = rules.link(head, Change("x.y", "x:1"), origin=ORIGIN, now=now)
        names.append(event["id"])
    assert names == sorted(names)
    assert len(set(names)) == len(names)


Tamper = Callable[[list[Event]], list[Event]]


def _edited(events: list[Event]) -> list[Event]:
    events[2]["after"]["n"] = 99
    return events


def _edited_and_hashed_anew(events: list[Event]) -> list[Event]:
    events[2]["after"]["n"] = 99
    events[2]["hash"] = rules.hash_of(events[2])
    return events


def _deleted(events: list[Event]) -> list[Event]:
    return events[:2] + events[3:]


def _reordered(events: list[Event]) -> list[Event]:
    events[1], events[2] = events[2], events[1]
    return events


def _truncated(events: list[Event]) -> list[Event]:
    return events[:-1]


def _emptied(events: list[Event]) -> list[Event]:
    return events[:0]


def _inserted(events: list[Event]) -> list[Event]:
    between = Head(2, events[1]["hash"], events[1]["id"].removeprefix("audit:"))
    event, _ = rules.link(between, Change("x.y", "x:1"), origin=ORIGIN, now=NOW)
    return [*events[:2], event, *events[2:]]


def _beheaded(events: list[Event]) -> list[Event]:
    return events[1:]


def _rewritten(events: list[Event]) -> list[Event]:
    """Leave one event out and link the rest anew: a chain that is valid without a head."""
    head, anew = Head(), []
    for event in events[:2] + events[3:]:
        change = Change(event["action"], event["target"], event["before"], event["after"])
        fresh, head = rules.link(head, change, origin=ORIGIN, now=NOW)
        anew.append(fresh)
    fresh, _ = rules.link(head, Change("x.y", "x:1"), origin=ORIGIN, now=NOW)
    return [*anew, fresh]


@pytest.mark.parametrize(
    ("tamper", "kinds"),
    [
        (_edited, {"edited"}),
        (_edited_and_hashed_anew, {"broken"}),
        (_deleted, {"gap"}),
        (_reordered, {"gap"}),
        (_inserted, {"gap"}),
        (_beheaded, {"gap"}),
        (_truncated, {"truncated"}),
        (_emptied, {"truncated"}),
        (_rewritten, {"truncated"}),
    ],
)
def test_tampering_is_found_and_classified(tamper: Tamper, kinds: set[str]) -> None:
    events, head = _chain(5)
    problems = rules.verify(tamper(copy.deepcopy(events)), head)
    assert problems
    assert kinds <= {problem.kind for problem in problems}
    if tamper not in {_truncated, _emptied, _rewritten}:
        assert rules.verify(tamper(copy.deepcopy(events))), "found without a head too"


@given(st.data())
def test_any_edit_of_any_field_is_found(data: st.DataObject) -> None:
    events, head = _chain(4)
    event = data.draw(st.sampled_from(events))
    field = data.draw(st.sampled_from(sorted(event)))
    values = st.one_of(st.none(), st.text(max_size=5), st.integers(), st.just({"n": 7}))
    event[field] = data.draw(values.filter(lambda value: value != event[field]))
    assert rules.verify(events, head)


@given(st.permutations(range(5)), st.integers(0, 5))
def test_any_reordering_or_omission_is_found(order: list[int], kept: int) -> None:
    events, head = _chain(5)
    shown = [events[at] for at in order[:kept]]
    assert (rules.verify(shown, head) == []) == (shown == events)


def test_a_problem_has_the_place_of_its_event_counted_from_1() -> None:
    events, head = _chain(3)
    first_edited = [events[0] | {"actor": "identity:other"}, *events[1:]]

    assert [one.position for one in rules.verify(first_edited, head)] == [1]
    # An export may begin later than the chain: the place is that in the export.
    assert [one.position for one in rules.verify(events[1:], head)] == [1]
    assert [one.position for one in rules.verify(events[:2], head)] == [0]


def test_an_export_with_events_after_the_saved_head_is_valid() -> None:
    events, _ = _chain(5)
    _, earlier = _chain(3)
    kept = Head(3, events[2]["hash"], earlier.last_id)
    assert rules.verify(events, kept) == []
    assert rules.verify(events[:2], kept)[-1].kind == "truncated"
    assert rules.verify(events, Head(3, "f" * 64, ""))[-1].kind == "truncated"


def _commit(
    tables: Tables,
    number: int,
    account: str = "acc",
    *,
    origin: Origin = ORIGIN,
    now: int = NOW,
) -> list[Event]:
    key = {"pk": f"THING#{account}", "sk": str(number)}
    return actions.commit(
        tables.main,
        account,
        writes={"thing": tables.main.put_new({**key, "n": number})},
        changes=[Change("thing.create", f"thing:{number}", after={"n": number})],
        origin=origin,
        now=now,
    )


def test_a_change_and_its_event_are_written_together_or_not_at_all(tables: Tables) -> None:
    event = _commit(tables, 1)[0]
    assert stored_events(tables, "acc") == [event]
    assert tables.main.get({"pk": "THING#acc", "sk": "1"}) == {"pk": "THING#acc", "sk": "1", "n": 1}
    with pytest.raises(actions.Refused) as refused:
        _commit(tables, 1)
    assert refused.value.failed["thing"]["n"] == 1
    assert stored_events(tables, "acc") == [event]
    assert store.read_head(tables.main, "acc", Chain.ADMINISTRATION).seq == 1


def test_several_changes_of_one_commit_are_linked(tables: Tables) -> None:
    actions.commit(
        tables.main,
        "acc",
        writes={},
        changes=[Change("a.b", f"a:{n}") for n in range(5)],
        origin=ORIGIN,
        now=NOW,
    )
    trail = stored_events(tables, "acc")
    assert [event["target"] for event in trail] == [f"a:{n}" for n in range(5)]
    assert rules.verify(trail, store.read_head(tables.main, "acc", Chain.ADMINISTRATION)) == []


def test_commits_at_the_same_time_form_one_valid_chain(
    tables: Tables, room_line: Wire, sleeps: list[float]
) -> None:
    """Each of five commits is overtaken by another one between reading and moving the head."""
    overtaken = 0

    def overtake(_: int, operation: str) -> None:
        nonlocal overtaken
        if operation == "TransactWriteItems" and overtaken < 5:
            overtaken += 1
            room_line.before = None
            _commit(tables, 100 + overtaken)
            room_line.before = overtake

    room_line.before = overtake
    _commit(tables, 1)
    trail = stored_events(tables, "acc")
    assert sorted(event["after"]["n"] for event in trail) == [1, 101, 102, 103, 104, 105]
    assert rules.verify(trail, store.read_head(tables.main, "acc", Chain.ADMINISTRATION)) == []
    assert len(sleeps) == 5


def test_commits_from_many_threads_form_one_valid_chain(tables: Tables) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(3):
                _commit(tables, number * 10 + step)
        except BaseException as problem:  # noqa: BLE001 - asserted below
            failed.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(problem, Unavailable) for problem in failed)
    trail = stored_events(tables, "acc")
    things = tables.main.query("THING#acc", limit=100)[0]
    assert len(trail) == len(things)
    assert len(trail) >= 8
    assert rules.verify(trail, store.read_head(tables.main, "acc", Chain.ADMINISTRATION)) == []


@pytest.mark.parametrize(
    "conflict",
    [lambda: error("TransactionConflictException"), lambda: conflict_in_transaction(3)],
)
def test_conflicts_are_retried_with_jitter_up_to_32_tries(
    tables: Tables, room_line: Wire, sleeps: list[float], conflict: Callable[[], Any]
) -> None:
    room_line.before = first(31, conflict, "TransactWriteItems")
    _commit(tables, 1)
    assert len(sleeps) == 31
    for attempt, wait in enumerate(sleeps):
        assert 0 <= wait <= min(0.08, 0.02 * 2**attempt)
    room_line.clear()
    room_line.before = first(32, conflict, "TransactWriteItems")
    with pytest.raises(Unavailable):
        _commit(tables, 2)
    assert room_line.calls.count("TransactWriteItems") == 32
    assert len(stored_events(tables, "acc")) == 1


def test_chains_of_accounts_are_independent(tables: Tables) -> None:
    for number in range(3):
        _commit(tables, number, "one")
        _commit(tables, number, "two")
    for account in ("one", "two"):
        trail = stored_events(tables, account)
        head = store.read_head(tables.main, account, Chain.ADMINISTRATION)
        assert rules.verify(trail, head) == []
        assert len(trail) == 3


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 100])
def test_pages_show_every_event_once_newest_first(tables: Tables, limit: int) -> None:
    for number in range(5):
        _commit(tables, number)
    seen, before = [], None
    while True:
        page, before = actions.page(tables.main, "acc", limit=limit, before=before)
        seen += [event["after"]["n"] for event in page]
        if before is None:
            break
    assert seen == [4, 3, 2, 1, 0]


def test_what_machines_do_moves_another_head(tables: Tables, room_line: Wire) -> None:
    """So whoever keeps the chain of machines busy delays no administrator."""
    machine = replace(ORIGIN, chain=Chain.MACHINE)

    def meanwhile(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            _commit(tables, 2, origin=machine)

    _commit(tables, 1)
    room_line.before = meanwhile
    room_line.calls.clear()
    _commit(tables, 3)
    assert room_line.calls.count("TransactWriteItems") == 2, "each at its first try"
    for chain, length in ((Chain.ADMINISTRATION, 2), (Chain.MACHINE, 1)):
        trail, _ = actions.page(tables.main, "acc", limit=10, chains=[chain])
        assert rules.verify(trail[::-1], store.read_head(tables.main, "acc", chain)) == []
        assert len(trail) == length


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_over_both_chains_show_every_event_once(tables: Tables, limit: int) -> None:
    for number in range(9):
        chain = Chain.MACHINE if number % 3 else Chain.ADMINISTRATION
        _commit(tables, number, origin=replace(ORIGIN, chain=chain), now=NOW + number * 1_000)
    seen, before = [], None
    while True:
        page, before = actions.page(tables.main, "acc", limit=limit, before=before)
        seen += [event["after"]["n"] for event in page]
        if before is None:
            break
    assert seen == [8, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(("second", "counts_anew"), [(0, False), (59, False), (60, True)])
def test_changes_of_a_member_are_counted_by_the_minute(
    tables: Tables, second: int, *, counts_anew: bool
) -> None:
    minute = MINUTE * (NOW // MINUTE)
    for number in range(MOST_WRITES):
        _commit(tables, number, origin=_of_a_member(), now=minute)
    later = minute + second * SECOND
    if not counts_anew:
        with pytest.raises(RateLimited) as refused:
            _commit(tables, 99, origin=_of_a_member(), now=later)
        assert refused.value.retry_after == 60 - second
        return
    for number in range(MOST_WRITES):
        _commit(tables, 100 + number, origin=_of_a_member(), now=later)
    with pytest.raises(RateLimited):
        _commit(tables, 999, origin=_of_a_member(), now=later)


def test_a_request_of_a_member_is_counted_once_whatever_it_writes(tables: Tables) -> None:
    request = _of_a_member()
    for number in range(MOST_WRITES + 1):
        _commit(tables, number, origin=request)
    for number in range(MOST_WRITES - 1):
        _commit(tables, 100 + number, origin=_of_a_member())
    refused = _of_a_member()
    for _ in range(2):
        with pytest.raises(RateLimited):
            _commit(tables, 999, origin=refused)


def _of_a_member() -> Origin:
    return replace(ORIGIN, bounded="i", counted=Counted())


def test_events_of_both_chains_in_one_millisecond_have_a_fixed_order(tables: Tables) -> None:
    for account in map(str, range(12)):
        _commit(tables, 1, account, origin=ORIGIN)
        _commit(tables, 2, account, origin=replace(ORIGIN, chain=Chain.MACHINE))
        events, _ = actions.page(tables.main, account, limit=9)
        assert [event["target"] for event in events] == ["thing:1", "thing:2"]


def test_ids_of_events_sort_before_the_head() -> None:
    for moment in (0, NOW, 95_000_000_000 * SECOND):  # until the year 4980
        assert ids.new(moment) < store.HEAD
