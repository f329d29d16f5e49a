"""When a delivery is tried again, given up or kept."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import ids
from gatehouse.core.clock import DAY, HOUR, MINUTE, SECOND
from gatehouse.deliveries import rules
from gatehouse.deliveries.model import (
    GRACE,
    MOST_SWEEPS,
    Dead,
    Death,
    Delivery,
    Done,
    Go,
    Outcome,
    Park,
    Parked,
    Recover,
    Retry,
    Status,
    Wake,
)

NOW = 1_800_000_000 * SECOND
SCHEDULE = (5, 30, 300)


def delivery(now: int = NOW) -> Delivery:
    return rules.made(
        id=ids.new(now),
        account_id="a",
        webhook_id="w",
        signal_id="s",
        event="alert",
        signal_ends_at=now + 30 * DAY,
        now=now,
    )


def answered(code: int | None, retry_after: int | None = None) -> Outcome:
    return Outcome(code, None if code else "timeout", retry_after)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("step", [0, 3, 19])
def test_any_2xx_is_success_at_any_attempt(code: int, step: int) -> None:
    assert rules.next_step(step, answered(code), schedule=SCHEDULE, now=NOW) == Done()


@pytest.mark.parametrize("code", [None, 100, 199, 301, 302, 304, 400, 401, 404, 409, 500, 502, 503])
def test_whatever_else_is_tried_after_5_s_30_s_and_5_min_and_then_given_up(
    code: int | None,
) -> None:
    steps = [rules.next_step(step, answered(code), schedule=SCHEDULE, now=NOW) for step in range(4)]

    waits = [Retry(NOW + wait * SECOND) for wait in SCHEDULE]
    assert steps == [*waits, Dead(Death.EXHAUSTED)]


def test_gone_keeps_the_delivery_at_any_attempt() -> None:
    assert rules.next_step(0, answered(410), schedule=SCHEDULE, now=NOW) == Park(Parked.GONE)
    assert rules.next_step(3, answered(410), schedule=SCHEDULE, now=NOW) == Park(Parked.GONE)


@pytest.mark.parametrize(
    ("code", "asked", "waited"),
    [
        (429, 60, 60),
        (503, 60, 60),
        (429, 1, 5),  # never shorter
        (503, 999_999, 3_600),  # an hour at most
        (500, 60, 5),  # only these two may ask
        (429, None, 5),
    ],
)
def test_retry_after_lengthens_the_wait(code: int, asked: int | None, waited: int) -> None:
    assert rules.next_step(0, answered(code, asked), schedule=SCHEDULE, now=NOW) == Retry(
        NOW + waited * SECOND
    )


def test_retry_after_gives_no_further_attempt() -> None:
    assert rules.next_step(3, answered(429, 60), schedule=SCHEDULE, now=NOW) == Dead(
        Death.EXHAUSTED
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("99999999999999999999", 3_600),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),  # a digit, but none of HTTP's
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
        ("Fri, 15 Jan 99999 07:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int | None) -> None:
    assert rules.retry_after(text, NOW) == seconds


def test_the_id_is_derived_and_sorts_by_its_signal() -> None:
    first, second = ids.new(NOW), ids.new(NOW + SECOND)
    made = rules.id_of(first, "w")

    assert made == rules.id_of(first, "w") == ids.read(made)
    assert made != rules.id_of(first, "x") != rules.id_of(second, "x")
    assert made < rules.id_of(second, "w")
    assert UUID(made).version == 7
    assert rules.lowest_id(NOW) <= made < rules.lowest_id(NOW + SECOND)


def test_ids_are_pinned_since_receivers_drop_repeats_by_them() -> None:
    signal, webhook = "01945d3c-5c00-7abc-8def-0123456789ab", "01945d3c-5c01-7000-8000-000000000001"

    assert rules.id_of(signal, webhook) == "01945d3c-5c00-739d-a894-4e2cea69dd4a"


def test_success_ends_a_delivery_and_nobody_looks_at_it_again() -> None:
    done = rules.after(delivery(), answered(200), step=Done(), now=NOW)

    assert (done.status, done.delivered_at, done.due_at) == (Status.DELIVERED, NOW, None)
    assert (done.attempt_count, done.next_retry_at, done.last_status_code) == (1, None, 200)
    assert not done.is_open


def test_a_retry_is_looked_at_two_minutes_after_it_was_due() -> None:
    at = NOW + 30 * SECOND
    tried = rules.after(delivery(), answered(None), step=Retry(at), now=NOW)

    assert (tried.status, tried.next_attempt, tried.step) == (Status.RETRYING, 2, 1)
    assert (tried.next_retry_at, tried.due_at, tried.unsent) == (at, at + GRACE, False)
    assert rules.delay(tried, NOW) == 30


def test_a_wait_that_no_message_can_wait_lies_in_the_index() -> None:
    at = NOW + HOUR
    tried = rules.after(delivery(), answered(503), step=Retry(at), now=NOW)

    assert (tried.unsent, tried.due_at) == (True, at - MINUTE)
    assert rules.delay(tried, at - MINUTE) == 60


@pytest.mark.parametrize("wait", [900, 901])
def test_fifteen_minutes_is_the_longest_that_a_message_waits(wait: int) -> None:
    tried = rules.after(delivery(), answered(500), step=Retry(NOW + wait * SECOND), now=NOW)

    assert tried.unsent is (wait > 900)


def test_a_parked_delivery_shows_as_pending_and_goes_on_where_it_was() -> None:
    tried = rules.after(delivery(), answered(500), step=Retry(NOW), now=NOW)
    parked = rules.parked(tried, Parked.PAUSED)
    woken = rules.woken(parked, NOW + DAY)

    assert (parked.status, parked.parked, parked.due_at) == (Status.PENDING, Parked.PAUSED, None)
    assert (woken.status, woken.parked, woken.step) == (Status.RETRYING, None, 1)
    assert (woken.next_attempt, woken.due_at) == (2, NOW + DAY + GRACE)


def test_attempts_number_on_through_a_replay() -> None:
    dead = replace(rules.dead(delivery(), Death.EXHAUSTED, NOW), next_attempt=5, step=4)
    again = rules.again(dead, NOW + DAY)

    assert (again.status, again.round, again.step) == (Status.PENDING, 2, 0)
    assert (again.next_attempt, again.reason, again.ended_at) == (5, None, None)


def test_the_sweeper_doubles_its_pause_and_gives_up_after_five() -> None:
    swept, pauses = delivery(), []
    for _ in range(MOST_SWEEPS):
        now = swept.due_at or 0
        swept = rules.swept(swept, now, backlog=False)
        pauses.append(((swept.due_at or 0) - now) // MINUTE)

    assert pauses == [2, 4, 8, 16, 32]
    assert rules.swept(swept, swept.due_at or 0, backlog=False).parked is Parked.INTERNAL


def test_a_backlog_proves_nothing_about_a_delivery() -> None:
    swept = replace(delivery(), sweeps=MOST_SWEEPS)

    assert rules.swept(swept, NOW, backlog=True).parked is None
    assert rules.swept(swept, NOW, backlog=True).sweeps == MOST_SWEEPS


@pytest.mark.parametrize(
    "message",
    [Go("d", 3), Wake("a", "w"), Wake("a", "w", "x"), Recover("a", "w", "0", NOW)],
)
def test_a_message_is_read_as_it_was_written(message: Go | Wake | Recover) -> None:
    assert rules.read(rules.write(message)) == message


def test_the_text_of_messages_is_pinned_since_old_ones_wait_in_the_queue() -> None:
    assert rules.write(Go("d", 3)) == '{"delivery":"d","attempt":3}'
    assert rules.write(Wake("a", "w")) == '{"wake":"w","account":"a","above":""}'
    assert (
        rules.write(Recover("a", "w", "i", 7))
        == '{"recover":"w","account":"a","above":"i","asked_at":7}'
    )


def test_an_answer_is_shown_as_text_up_to_a_kibibyte() -> None:
    assert rules.shown(b"ok\xff\x00") == "ok\ufffd\x00"
    assert len(rules.shown(b"x" * 5_000)) == rules.SHOWN_BYTES


@given(
    st.lists(st.one_of(st.none(), st.integers(100, 599)), min_size=1, max_size=30),
    st.lists(st.integers(1, 20_000), min_size=1, max_size=20),
)
def test_a_delivery_ends_after_as_many_attempts_as_its_schedule_has_steps_and_one(
    codes: list[int | None], schedule: list[int]
) -> None:
    going, now = delivery(), NOW
    for code in codes:
        step = rules.next_step(going.step, answered(code), schedule=schedule, now=now)
        going = rules.after(going, answered(code), step=step, now=now)
        assert going.attempt_count <= len(schedule) + 1
        # Whatever is open has somebody who looks at it, or waits for its webhook.
        assert going.is_open == (going.due_at is not None or going.parked is not None)
        if not going.is_open or going.parked:
            break
        now = going.next_retry_at or now


@pytest.mark.parametrize("rate", [50, 100, 400])
def test_the_sweeper_adds_little_to_a_backlog_of_100_000(rate: int) -> None:
    """`rate`: attempts a second. Each delivery is attempted once, whatever was sent twice."""
    count = 100_000
    open_ = {number: replace(delivery(), id=f"{number:08x}") for number in range(count)}
    queue, sent, now = deque(open_), count, NOW
    while open_:
        for _ in range(60 * rate):
            if not queue:
                break
            open_.pop(queue.popleft(), None)
        now += MINUTE
        due = [one for one in open_.values() if (one.due_at or 0) <= now]
        for one in rules.to_sweep(due, now, visible=len(queue)):
            number = int(one.id, 16)
            open_[number] = rules.swept(one, now, backlog=bool(queue))
            queue.append(number)
            sent += 1

    assert sent <= 1.1 * count


def test_what_a_queue_lost_is_sent_again_within_minutes_once_it_is_quiet() -> None:
    chosen = range(0, 2_000, 50)
    open_ = {number: replace(delivery(), id=f"{number:08x}") for number in chosen}
    now = NOW + 3 * MINUTE

    assert len(rules.to_sweep(list(open_.values()), now, visible=0)) == len(chosen)
    assert rules.to_sweep(list(open_.values()), now, visible=1) == []
    late = rules.to_sweep(list(open_.values()), NOW + 16 * MINUTE, visible=1)
    assert 0 < len(late) < len(chosen)


def test_a_long_wait_is_over_even_with_a_busy_queue() -> None:
    waits = rules.waiting(delivery(), NOW + HOUR, NOW)

    assert rules.to_sweep([waits], NOW + HOUR - MINUTE, visible=5_000) == [waits]
