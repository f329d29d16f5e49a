"""The counters of stream records at the exact bounds of portions, hours and days."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gatehouse.health_metrics import rules
from gatehouse.health_metrics.model import Portion, Sums
from support.aws.stream_records import Item, delivery, record, signal

MINUTE = 60_000_000
HOUR = 60
AT = 29_920_860 * MINUTE  # the first minute of an hour


def emitted(account: str, name: str, *, minute: int = 0, **more: Any) -> Item:
    return signal(account, name, at=AT + minute * MINUTE, **more)


# ---- One record --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "total"),
    [
        ("pending", "pending"),
        ("retrying", "pending"),
        ("delivered", "delivered"),
        ("dead_letter", "dead_letter"),
    ],
)
def test_each_status_counts_in_its_total(status: str, total: str) -> None:
    item = delivery("b", "d", status)

    assert rules.change_of(record(1, None, item)) == ("b", Sums(Counter({total: 1})))
    assert rules.change_of(record(1, item, None)) == ("b", Sums(Counter({total: -1})))


def test_a_new_signal_counts_in_the_minute_of_its_creation() -> None:
    last, first = signal("a", "s", at=AT + MINUTE - 1), signal("a", "s", at=AT + MINUTE)

    assert rules.change_of(record(1, None, last)) == ("a", Sums(minutes=Counter({29_920_860: 1})))
    assert rules.change_of(record(1, None, first)) == ("a", Sums(minutes=Counter({29_920_861: 1})))


def test_an_acknowledged_ping_counts_as_acknowledged_only() -> None:
    ping = emitted("a", "s", type="ping", task_status="acked")

    assert rules.change_of(record(1, None, ping)) == ("a", Sums(Counter({"acked": 1})))


@pytest.mark.parametrize(
    "item",
    [
        {"pk": "ATTEMPT#d", "sk": "000001", "account_id": "a", "status": "delivered"},
        {"pk": "WEBHOOK#d", "sk": "d", "account_id": "a", "status": "delivered"},
        {"pk": "SIGNALS#a", "sk": "x", "type": "task", "created_at": AT},
    ],
)
def test_other_items_do_not_count(item: Item) -> None:
    assert rules.change_of(record(1, None, item)) is None


# ---- Portions ----------------------------------------------------------------------------------


def _portions(items: list[Item], *, after: str | None = None, most: int = 99) -> list[Portion]:
    records = [record(number, None, item) for number, item in enumerate(items, 1)]
    return list(rules.portions(records, after=after, most=most))


def test_positions_have_forty_digits_and_the_record_at_the_position_is_skipped() -> None:
    items = [delivery("a", name, "pending") for name in "xyz"]

    for position, count in ((None, 3), ("", 3), (f"{1:040d}", 2), (f"{2:040d}", 1)):
        expected = Portion("0" * 39 + "3", {"a": Sums(Counter({"pending": count}))})
        assert _portions(items, after=position) == [expected]
    assert _portions(items, after=f"{3:040d}") == []


def test_a_record_that_changes_nothing_does_not_move_the_position() -> None:
    items = [delivery("a", "x", "pending"), emitted("a", "s", type="ping")]

    assert _portions(items) == [Portion(f"{1:040d}", {"a": Sums(Counter({"pending": 1}))})]
    assert _portions(items[1:]) == []


def test_a_portion_is_full_at_its_bound_and_the_next_starts_beyond_it() -> None:
    items = [delivery(account, "d", "pending") for account in "abc"]
    one = Sums(Counter({"pending": 1}))

    assert _portions(items, most=3) == [Portion(f"{3:040d}", {"a": one, "b": one, "c": one})]
    assert _portions(items, most=2) == [
        Portion(f"{2:040d}", {"a": one, "b": one}),
        Portion(f"{3:040d}", {"c": one}),
    ]


def test_a_record_of_more_items_than_a_portion_may_have_is_one_portion() -> None:
    item = emitted("a", "s", task_status="acked")
    both = Sums(Counter({"acked": 1}), Counter({29_920_860: 1}))

    assert _portions([item], most=1) == [Portion(f"{1:040d}", {"a": both})]


def test_an_items_second_change_needs_no_room_in_the_portion() -> None:
    """Minutes of one hour are one item, those of the next hour another."""
    items = [emitted("a", "s0"), emitted("a", "s1", minute=59), emitted("a", "s2", minute=60)]

    assert _portions(items, most=1) == [
        Portion(f"{2:040d}", {"a": Sums(minutes=Counter({29_920_860: 1, 29_920_919: 1}))}),
        Portion(f"{3:040d}", {"a": Sums(minutes=Counter({29_920_920: 1}))}),
    ]


def test_the_totals_are_one_item_beside_the_hours() -> None:
    items = [emitted("a", "s"), delivery("a", "d", "pending"), delivery("a", "e", "delivered")]

    assert [one.upto for one in _portions(items, most=1)] == [f"{1:040d}", f"{3:040d}"]
    assert [one.upto for one in _portions(items, most=2)] == [f"{3:040d}"]


def test_a_portion_without_a_given_bound_changes_99_items() -> None:
    items = [delivery(f"a{number}", "d", "pending") for number in range(100)]

    portions = list(
        rules.portions(
            [record(number, None, item) for number, item in enumerate(items, 1)], after=None
        )
    )

    assert [len(one.sums) for one in portions] == [99, 1]


# ---- What is shown -----------------------------------------------------------------------------


@pytest.mark.parametrize(("minute", "counted"), [(-1_440, 0), (-1_439, 1), (-1, 1), (0, 1), (1, 0)])
def test_the_volume_has_the_last_1440_minutes(minute: int, counted: int) -> None:
    minutes = {29_920_860 + minute: 1}

    assert rules.volume(minutes, now=AT) == counted
    assert rules.volume(minutes, now=AT + MINUTE - 1) == counted


def test_the_volume_is_a_sum() -> None:
    assert rules.volume({29_920_860: 3, 29_920_859: 4, 29_919_420: 5}, now=AT) == 7
    assert rules.volume({}, now=AT) == 0


def test_totals_are_all_shown_and_at_least_zero() -> None:
    assert rules.totals({"pending": 1, "delivered": -1, "acked": 0, "other": 9}) == {
        "pending": 1,
        "delivered": 0,
        "dead_letter": 0,
        "acked": 0,
    }


def test_minutes_are_grouped_by_their_hour() -> None:
    assert rules.by_hour({0: 4, 59: 1, 60: 2, 7 * HOUR + 30: 3, 61: 5}) == {
        0: {0: 4, 59: 1},
        1: {0: 2, 1: 5},
        7: {30: 3},
    }
