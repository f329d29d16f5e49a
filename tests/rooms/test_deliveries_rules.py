"""What follows an attempt, what messages contain, and what the sweeper sends; no table needed."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import ids
from gatehouse.core.clock import DAY, HOUR, MINUTE, SECOND
from gatehouse.deliveries import message_rules, rules, sweep_rules
from gatehouse.deliveries.model import (
    GRACE,
    MOST_SWEEPS,
    AttemptMessage,
    DeadLetterReason,
    Delivered,
    Delivery,
    DeliveryStatus,
    DueMessage,
    FanOutMessage,
    GiveUp,
    Message,
    Outcome,
    Park,
    ParkReason,
    RecoverMessage,
    Retry,
    UnparkMessage,
)

NOW = 1_800_000_000 * SECOND
SCHEDULE = (5, 30, 300)


def delivery(now: int = NOW) -> Delivery:
    return rules.new_delivery(
        id=ids.new(now),
        account_id="a",
        webhook_id="w",
        signal_id="s",
        event="alert",
        signal_ends_at=now + 30 * DAY,
        now=now,
    )


def outcome(code: int | None, retry_after: int | None = None) -> Outcome:
    return Outcome(code, None if code else "timeout", retry_after)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("step", [0, 3, 19])
def test_any_2xx_delivers_at_any_step(code: int, step: int) -> None:
    assert rules.next_action(step, outcome(code), schedule=SCHEDULE, now=NOW) == Delivered()


@pytest.mark.parametrize("code", [None, 100, 199, 301, 302, 304, 400, 401, 404, 409, 500, 502, 503])
def test_any_other_outcome_is_retried_by_the_schedule_and_then_given_up(
    code: int | None,
) -> None:
    actions = [
        rules.next_action(step, outcome(code), schedule=SCHEDULE, now=NOW) for step in range(4)
    ]

    waits = [Retry(NOW + wait * SECOND) for wait in SCHEDULE]
    assert actions == [*waits, GiveUp(DeadLetterReason.EXHAUSTED)]


def test_a_410_parks_the_delivery_at_any_step() -> None:
    assert rules.next_action(0, outcome(410), schedule=SCHEDULE, now=NOW) == Park(ParkReason.GONE)
    assert rules.next_action(3, outcome(410), schedule=SCHEDULE, now=NOW) == Park(ParkReason.GONE)


@pytest.mark.parametrize(
    ("code", "asked", "waited"),
    [
        (429, 60, 60),
        (503, 60, 60),
        (429, 1, 5),  # never shorter
        (503, 999_999, 3_600),  # an hour at most
        (500, 60, 5),  # only 429, 502, 503 and 504
        (429, None, 5),
    ],
)
def test_retry_after_lengthens_the_wait(code: int, asked: int | None, waited: int) -> None:
    assert rules.next_action(0, outcome(code, asked), schedule=SCHEDULE, now=NOW) == Retry(
        NOW + waited * SECOND
    )


def test_retry_after_allows_no_attempt_beyond_the_schedule() -> None:
    assert rules.next_action(3, outcome(429, 60), schedule=SCHEDULE, now=NOW) == GiveUp(
        DeadLetterReason.EXHAUSTED
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
        ("٣", None),  # a digit, but not in ASCII
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 99 Jan 2027 07:00:00 GMT", None),
        ("Fri, 15 Jan 99999 07:00:00 GMT", None),
    ],
)
def test_retry_after_is_parsed_as_seconds_or_a_date(text: str | None, seconds: int | None) -> None:
    assert rules.parse_retry_after(text, NOW) == seconds


def test_ids_are_derived_and_sort_like_their_signals_ids() -> None:
    first, second = ids.new(NOW), ids.new(NOW + SECOND)
    derived = rules.id_of(first, "w")

    assert derived == rules.id_of(first, "w") == ids.read(derived)
    assert derived != rules.id_of(first, "x") != rules.id_of(second, "x")
    assert derived < rules.id_of(second, "w")
    assert UUID(derived).version == 7
    assert rules.lowest_id(NOW) <= derived < rules.lowest_id(NOW + SECOND)


def test_derived_ids_never_change_because_receivers_deduplicate_by_them() -> None:
    signal, webhook = "01945d3c-5c00-7abc-8def-0123456789ab", "01945d3c-5c01-7000-8000-000000000001"

    assert rules.id_of(signal, webhook) == "01945d3c-5c00-739d-a894-4e2c119144ac"


def test_a_delivered_one_has_no_next_attempt_and_no_sweep() -> None:
    done = rules.after_attempt(delivery(), outcome(200), action=Delivered(), now=NOW)

    assert (done.status, done.delivered_at, done.due_at) == (DeliveryStatus.DELIVERED, NOW, None)
    assert (done.attempt_count, done.next_retry_at, done.last_status_code) == (1, None, 200)
    assert not done.is_open


def test_a_retry_is_due_for_the_sweeper_two_minutes_after_its_time() -> None:
    at = NOW + 30 * SECOND
    attempted = rules.after_attempt(delivery(), outcome(None), action=Retry(at), now=NOW)

    assert (attempted.status, attempted.next_attempt, attempted.step) == (
        DeliveryStatus.RETRYING,
        2,
        1,
    )
    assert (attempted.next_retry_at, attempted.due_at, attempted.unsent) == (at, at + GRACE, False)
    assert message_rules.delay(attempted, NOW) == 30


def test_a_long_wait_has_no_message_and_is_due_for_the_sweeper_a_minute_early() -> None:
    at = NOW + HOUR
    attempted = rules.after_attempt(delivery(), outcome(503), action=Retry(at), now=NOW)

    assert (attempted.unsent, attempted.due_at) == (True, at - MINUTE)
    assert message_rules.delay(attempted, at - MINUTE) == 60


@pytest.mark.parametrize("wait", [900, 901])
def test_a_message_is_delayed_by_at_most_fifteen_minutes(wait: int) -> None:
    attempted = rules.after_attempt(
        delivery(), outcome(500), action=Retry(NOW + wait * SECOND), now=NOW
    )

    assert attempted.unsent is (wait > 900)


def test_an_unparked_delivery_continues_in_its_round_and_step() -> None:
    attempted = rules.after_attempt(delivery(), outcome(500), action=Retry(NOW), now=NOW)
    parked = rules.parked(attempted, ParkReason.PAUSED)
    unparked = rules.unparked(parked, NOW + DAY)

    assert (parked.status, parked.parked, parked.due_at) == (
        DeliveryStatus.PENDING,
        ParkReason.PAUSED,
        None,
    )
    assert (unparked.status, unparked.parked, unparked.step) == (DeliveryStatus.RETRYING, None, 1)
    assert (unparked.next_attempt, unparked.due_at) == (2, NOW + DAY + GRACE)


def test_attempt_numbers_continue_after_a_replay() -> None:
    given_up = replace(
        rules.dead_letter(delivery(), DeadLetterReason.EXHAUSTED, NOW), next_attempt=5, step=4
    )
    replayed = rules.next_round(given_up, NOW + DAY)

    assert (replayed.status, replayed.round, replayed.step) == (DeliveryStatus.PENDING, 2, 0)
    assert (replayed.next_attempt, replayed.reason, replayed.ended_at) == (5, None, None)


def test_the_pause_between_sweeps_doubles_and_the_sixth_sweep_parks() -> None:
    swept, pauses = delivery(), []
    for _ in range(MOST_SWEEPS):
        now = swept.due_at or 0
        swept = sweep_rules.after_sweep(swept, now, backlog=False)
        pauses.append(((swept.due_at or 0) - now) // MINUTE)

    assert pauses == [2, 4, 8, 16, 32]
    assert (
        sweep_rules.after_sweep(swept, swept.due_at or 0, backlog=False).parked
        is ParkReason.INTERNAL
    )


def test_a_sweep_during_a_backlog_does_not_count() -> None:
    swept = replace(delivery(), sweeps=MOST_SWEEPS)

    assert sweep_rules.after_sweep(swept, NOW, backlog=True).parked is None
    assert sweep_rules.after_sweep(swept, NOW, backlog=True).sweeps == MOST_SWEEPS


@pytest.mark.parametrize(
    "message",
    [
        AttemptMessage("d", 3, "a", "w"),
        FanOutMessage("a", "s"),
        UnparkMessage("a", "w"),
        UnparkMessage("a", "w", "x"),
        RecoverMessage("a", "w", "0", NOW),
        RecoverMessage("a", "w", "0", NOW, 7),
        DueMessage(63, 9, NOW),
    ],
)
def test_messages_survive_writing_and_reading(
    message: Message,
) -> None:
    assert message_rules.read(message_rules.write(message)) == message


def test_message_bodies_never_change_because_old_ones_wait_in_the_queue() -> None:
    assert (
        message_rules.write(AttemptMessage("d", 3, "a", "w"))
        == '{"delivery":"d","attempt":3,"account":"a","webhook":"w"}'
    )
    assert message_rules.write(FanOutMessage("a", "s")) == '{"fan_out":"s","account":"a"}'
    assert message_rules.write(DueMessage(7, 9)) == '{"due":7,"visible":9,"above":0}'
    assert (
        message_rules.write(UnparkMessage("a", "w", sent=2))
        == '{"wake":"w","account":"a","above":"","sent":2}'
    )
    assert (
        message_rules.write(RecoverMessage("a", "w", "i", 7))
        == '{"recover":"w","account":"a","above":"i","asked_at":7,"sent":0}'
    )


def test_a_response_is_shown_as_text_up_to_one_kib() -> None:
    assert rules.shown_text(b"ok\xff\x00") == "ok\ufffd\x00"
    assert len(rules.shown_text(b"x" * 5_000)) == rules.SHOWN_BYTES


@given(
    st.lists(st.one_of(st.none(), st.integers(100, 599)), min_size=1, max_size=30),
    st.lists(st.integers(1, 20_000), min_size=1, max_size=20),
)
def test_a_delivery_has_at_most_one_attempt_more_than_its_schedule_has_steps(
    codes: list[int | None], schedule: list[int]
) -> None:
    current, now = delivery(), NOW
    for code in codes:
        action = rules.next_action(current.step, outcome(code), schedule=schedule, now=now)
        current = rules.after_attempt(current, outcome(code), action=action, now=now)
        assert current.attempt_count <= len(schedule) + 1
        # An open delivery is either due for the sweeper or parked.
        assert current.is_open == (current.due_at is not None or current.parked is not None)
        if not current.is_open or current.parked:
            break
        now = current.next_retry_at or now


@pytest.mark.slow
@pytest.mark.parametrize("rate", [50, 100, 400])
def test_the_sweeper_adds_at_most_ten_percent_to_a_backlog_of_100_000(rate: int) -> None:
    """`rate`: attempts a second. A second message for a delivery makes no second attempt."""
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
        for one in sweep_rules.choose_to_send(due, now, visible=len(queue)):
            number = int(one.id, 16)
            open_[number] = sweep_rules.after_sweep(one, now, backlog=bool(queue))
            queue.append(number)
            sent += 1

    assert sent <= 1.1 * count


def test_an_idle_queue_gets_all_overdue_deliveries_and_a_busy_one_a_few() -> None:
    chosen = range(0, 2_000, 50)
    open_ = {number: replace(delivery(), id=f"{number:08x}") for number in chosen}
    now = NOW + 3 * MINUTE

    assert len(sweep_rules.choose_to_send(list(open_.values()), now, visible=0)) == len(chosen)
    assert sweep_rules.choose_to_send(list(open_.values()), now, visible=1) == []
    late = sweep_rules.choose_to_send(list(open_.values()), NOW + 16 * MINUTE, visible=1)
    assert 0 < len(late) < len(chosen)


def test_a_delivery_without_a_message_is_sent_even_to_a_busy_queue() -> None:
    waiting = rules.scheduled(delivery(), NOW + HOUR, NOW)

    assert sweep_rules.choose_to_send([waiting], NOW + HOUR - MINUTE, visible=5_000) == [waiting]
