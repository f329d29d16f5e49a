"""Messages of deliveries and sweeps at the exact bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.core import ids
from gatehouse.deliveries import message_rules, sweep_rules
from gatehouse.deliveries.model import (
    AttemptMessage,
    DeliveryStatus,
    DueMessage,
    FanOutMessage,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.signals.model import Mark
from support.worlds.delivery_values import BUSY, MINUTE, NEW, NOW, SECOND, STILL, WEEK

# ---- Messages ----------------------------------------------------------------------------------


def test_messages_of_the_published_format_are_read() -> None:
    read = message_rules.read

    attempt = '{"delivery":"d","attempt":3,"account":"a","webhook":"w"}'
    assert read(attempt) == AttemptMessage("d", 3, "a", "w")
    assert read('{"fan_out":"s","account":"a"}') == FanOutMessage("a", "s")
    assert read('{"due":63,"visible":9,"above":5}') == DueMessage(63, 9, 5)
    wake = '{"wake":"w","account":"a","above":"i","sent":2}'
    assert read(wake) == UnparkMessage("a", "w", "i", 2)
    recover = '{"recover":"w","account":"a","above":"i","asked_at":7,"sent":2}'
    assert read(recover) == RecoverMessage("a", "w", "i", 7, 2)


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        (None, 0),
        (-SECOND, 0),
        (0, 0),
        (1, 1),
        (SECOND, 1),
        (SECOND + 1, 2),
        (899 * SECOND, 899),
        (900 * SECOND, 900),
        (900 * SECOND + 1, 900),
    ],
)
def test_a_messages_delay_is_rounded_up_to_whole_seconds(wait: int | None, seconds: int) -> None:
    waiting = replace(NEW, next_retry_at=None if wait is None else NOW + wait)

    assert message_rules.delay(waiting, NOW) == seconds


# ---- Sweeps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("created", "next_retry", "sent"),
    [
        (-15 * MINUTE, None, True),
        (1 - 15 * MINUTE, None, False),
        (-60 * MINUTE, -15 * MINUTE, True),
        (-60 * MINUTE, 1 - 15 * MINUTE, False),
        (-60 * MINUTE, -16 * MINUTE, True),
    ],
)
def test_a_busy_queue_gets_what_is_15_minutes_late(
    created: int, next_retry: int | None, *, sent: bool
) -> None:
    at = None if next_retry is None else NOW + next_retry
    overdue = replace(NEW, created_at=NOW + created, next_retry_at=at)

    assert sweep_rules.choose_to_send([overdue], NOW, visible=1) == [overdue] * sent


@pytest.mark.parametrize(
    ("visible", "count"), [(0, 40), (1, 1), (63_999, 1), (64_000, 2), (127_999, 2), (128_000, 3)]
)
def test_a_busy_queue_gets_one_of_a_shard_and_one_for_each_64000_messages(
    visible: int, count: int
) -> None:
    late = [replace(NEW, id=str(number), next_retry_at=NOW - WEEK) for number in range(40)]

    assert sweep_rules.choose_to_send(late, NOW, visible=visible) == late[:count]


@pytest.mark.parametrize("visible", [0, 1])
def test_those_without_a_message_are_sent_first_and_also_to_a_busy_queue(visible: int) -> None:
    overdue = [replace(NEW, id=f"o{number}", next_retry_at=NOW - MINUTE) for number in range(3)]
    unsent = [replace(NEW, id=f"u{number}", unsent=True) for number in range(3)]

    chosen = sweep_rules.choose_to_send([*overdue, *unsent], NOW, visible=visible)

    assert chosen == [*unsent, *([] if visible else overdue)]


@pytest.mark.parametrize(
    ("visible", "count"), [(0, 40), (1, 25), (999, 25), (1_000, 26), (1_999, 26), (2_000, 27)]
)
def test_a_busy_queue_gets_25_late_signals_and_one_for_each_1000_messages(
    visible: int, count: int
) -> None:
    marks = [Mark("a", ids.new(NOW - 15 * MINUTE)) for _ in range(40)]
    early = Mark("a", ids.new(NOW - 15 * MINUTE + 1_000))

    chosen = sweep_rules.choose_to_fan_out([*marks, early], NOW, visible=visible)

    assert chosen == ([*marks, early] if not visible else marks[:count])


@pytest.mark.parametrize(
    ("sweeps", "next_retry", "due_in"),
    [
        (0, None, 2 * MINUTE),
        (0, -MINUTE, 2 * MINUTE),
        (0, MINUTE, 3 * MINUTE),
        (1, MINUTE, 5 * MINUTE),
        (4, 0, 32 * MINUTE),
    ],
)
def test_a_sweep_counts_and_sets_when_the_next_is_due(
    sweeps: int, next_retry: int | None, due_in: int
) -> None:
    at = None if next_retry is None else NOW + next_retry
    due = replace(BUSY, sweeps=sweeps, next_retry_at=at)

    assert sweep_rules.after_sweep(due, NOW, backlog=False) == replace(
        due, due_at=NOW + due_in, sweeps=sweeps + 1, unsent=False
    )


@pytest.mark.parametrize("sweeps", [0, 5, 6])
def test_a_sweep_in_a_backlog_is_repeated_after_half_an_hour(sweeps: int) -> None:
    due = replace(BUSY, sweeps=sweeps)

    assert sweep_rules.after_sweep(due, NOW, backlog=True) == replace(
        due, due_at=NOW + 30 * MINUTE, unsent=False
    )


@pytest.mark.parametrize("sweeps", [5, 6])
def test_a_delivery_is_parked_after_five_sweeps(sweeps: int) -> None:
    due = replace(BUSY, sweeps=sweeps)

    assert sweep_rules.after_sweep(due, NOW, backlog=False) == replace(
        STILL, status=DeliveryStatus.PENDING, parked=ParkReason.INTERNAL
    )
