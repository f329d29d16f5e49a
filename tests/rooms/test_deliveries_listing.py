"""Lists of deliveries: merged from their lanes, newest first, in bounded reads, without gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.clock import DAY, SECOND
from gatehouse.deliveries import listing, listing_store, rules, store
from gatehouse.deliveries.model import (
    DeadLetterReason,
    Delivery,
    DeliveryStatus,
    ParkReason,
)
from support.aws.faults import Wire
from support.worlds.deliveries import ACCOUNT, START, DeliveryWorld

HOOKS = ["hook-a", "hook-b", "hook-c"]
STATES: list[dict[str, Any]] = [
    {"status": DeliveryStatus.DELIVERED},
    {"status": DeliveryStatus.DELIVERED},
    {"status": DeliveryStatus.PENDING},
    {"status": DeliveryStatus.RETRYING},
    {"status": DeliveryStatus.DEAD_LETTER, "reason": DeadLetterReason.EXHAUSTED},
    {"status": DeliveryStatus.PENDING, "parked": ParkReason.PAUSED},
]


def _store(world: DeliveryWorld, count: int, *, hooks: list[str]) -> list[Delivery]:
    """Store deliveries of these webhooks in turn, a second apart; return them newest first."""
    stored: list[Delivery] = []
    for number in range(count):
        at = START + number * SECOND
        signal = f"{rules.lowest_id(at)[:-3]}{number:03x}"
        hook = hooks[number % len(hooks)]
        new = rules.new_delivery(
            id=rules.id_of(signal, hook),
            account_id=ACCOUNT,
            webhook_id=hook,
            signal_id=signal,
            event="alert" if number % 2 else "pulse",
            signal_ends_at=at + 30 * DAY,
            now=at,
        )
        delivery = replace(new, **STATES[number // len(hooks) % len(STATES)])
        store.insert(world.table, delivery)
        stored.insert(0, delivery)
    return stored


def _walk(world: DeliveryWorld, hooks: list[str], **query: Any) -> tuple[list[Delivery], int]:
    """Follow the cursors to the end; return the deliveries and the number of pages."""
    found: list[Delivery] = []
    after, pages = None, 0
    while True:
        query = {"status": None, "limit": 10, **query, "after": after}
        page, after = listing.page(world.table, hooks, **query)
        assert len(page) <= query["limit"]
        found += page
        pages += 1
        if after is None:
            return found, pages
        assert pages < 200, "it never ends"


@pytest.mark.parametrize(("limit", "pages"), [(1, 90), (7, 13), (89, 2), (90, 1), (100, 1)])
def test_a_list_over_several_webhooks_is_in_the_order_of_time(
    world: DeliveryWorld, limit: int, pages: int
) -> None:
    stored = _store(world, 90, hooks=HOOKS)

    assert _walk(world, HOOKS, limit=limit) == (stored, pages)


@pytest.mark.parametrize("status", DeliveryStatus)
def test_a_list_of_one_status_has_all_of_it_and_nothing_else(
    world: DeliveryWorld, status: DeliveryStatus
) -> None:
    stored = _store(world, 60, hooks=HOOKS)

    found, _ = _walk(world, HOOKS[:2], status=status, limit=3)

    assert found
    assert found == [one for one in stored if one.status is status and one.webhook_id != "hook-c"]


def test_a_list_can_be_of_one_event_and_since_a_time(world: DeliveryWorld) -> None:
    stored = _store(world, 60, hooks=HOOKS)
    since = START + 20 * SECOND

    for status in (None, DeliveryStatus.DEAD_LETTER):
        found, _ = _walk(world, HOOKS, event="pulse", since=since, status=status, limit=4)
        assert found == [
            one
            for one in stored
            if one.event == "pulse" and one.created_at >= since and status in {None, one.status}
        ]
        assert found


@pytest.mark.parametrize("status", [None, *DeliveryStatus])
def test_a_page_after_a_cursor_that_is_older_than_since_is_empty(
    world: DeliveryWorld, status: DeliveryStatus | None
) -> None:
    """A caller may follow a cursor with another `since`."""
    stored = _store(world, 60, hooks=HOOKS)
    since = START + 20 * SECOND

    page, after = listing.page(
        world.table, HOOKS, status=status, since=since, limit=4, after=stored[50].id
    )

    assert (page, after) == ([], None)


def test_a_page_reads_a_bounded_number_of_deliveries(
    world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = _store(world, 60, hooks=HOOKS)
    monkeypatch.setattr(listing, "_MOST_READ", 4)

    page, after = listing.page(
        world.table, HOOKS, status=DeliveryStatus.PENDING, limit=10, after=None
    )

    assert page == [one for one in stored[:4] if one.status is DeliveryStatus.PENDING]
    assert after == stored[3].id, "a short page leads to more"
    pending = [one for one in stored if one.status is DeliveryStatus.PENDING]
    assert _walk(world, HOOKS, status=DeliveryStatus.PENDING, limit=2)[0] == pending
    assert _walk(world, HOOKS, status=DeliveryStatus.DEAD_LETTER, limit=9)[1] == 3


def test_a_page_queries_each_lane_once(world: DeliveryWorld, room_line: Wire) -> None:
    _store(world, 60, hooks=HOOKS)
    room_line.clear()
    listing.page(world.table, HOOKS[:1], status=None, limit=10, after=None)
    assert room_line.calls == ["Query"] * 8

    room_line.clear()
    listing.page(world.table, HOOKS, status=DeliveryStatus.DEAD_LETTER, limit=50, after=None)
    assert room_line.calls == ["Query"] * 24 + ["BatchGetItem"]


def test_a_delivery_of_another_webhook_with_the_same_part_is_left_out(
    world: DeliveryWorld,
) -> None:
    mine, other = _store(world, 2, hooks=["hook-a"])
    other = replace(other, webhook_id="hook-x")
    store.insert(world.table, replace(other, id=f"{other.id[:15]}fff{other.id[18:]}"))

    assert {one.id for one in _walk(world, ["hook-a"])[0]} == {mine.id, other.id}


def test_dead_letters_are_counted_from_an_id_in_every_lane(
    world: DeliveryWorld, room_line: Wire
) -> None:
    stored = _store(world, 120, hooks=["hook-a"])
    dead = [one for one in stored if one.status is DeliveryStatus.DEAD_LETTER]
    room_line.clear()

    for number in (0, 7, len(dead) - 1):
        low = dead[number].id
        assert listing_store.count(world.table, "hook-a", "dead_letter", low=low) == number + 1
    assert listing_store.count(world.table, "hook-b", "dead_letter", low=rules.lowest_id(0)) == 0
    assert room_line.calls == ["Query"] * 8 * 4


def test_ids_of_a_listed_state_are_in_order_between_two_bounds(world: DeliveryWorld) -> None:
    stored = _store(world, 120, hooks=["hook-a"])
    ids = [one.id for one in stored if one.status is DeliveryStatus.RETRYING]

    def found(**bounds: Any) -> list[str]:
        return listing_store.list_ids(world.table, "hook-a", "retrying", **bounds)

    assert found(limit=100) == ids
    assert found(limit=5) == ids[:5]
    assert found(limit=5, newest_first=False) == ids[::-1][:5]
    assert found(limit=100, low=ids[9], high=ids[3]) == ids[3:10]
    assert found(limit=100, low=ids[9], high=ids[3], newest_first=False) == ids[3:10][::-1]
