"""Fan-out, and what the sweeper does after lost messages, lost records and long waits."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.core.clock import DAY, HOUR, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.model import (
    DeliveryStatus,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.signals import actions as signals
from gatehouse.webhooks.model import Filters
from support.worlds.deliveries import ACCOUNT, DeliveryWorld

# ---- Fan-out -----------------------------------------------------------------------------------


def test_all_filters_must_match_and_no_filters_match_everything(world: DeliveryWorld) -> None:
    world.webhook("https://all.example/")
    world.webhook("https://hot.example/", filters=Filters(("inner",), ("alert",), "0.7"))
    for fields in (
        {"to_ring": "inner", "urgency": "0.7"},
        {"to_ring": "inner", "urgency": "0.69"},
        {"to_ring": "outer", "urgency": "0.9"},
        {"to_ring": "inner", "urgency": "0.9", "type": "pulse"},
        {"urgency": "0.9"},
    ):
        world.fan_out(world.emit(**fields))
    world.run()

    urls = [one.url for one in world.receiver.seen]
    assert (urls.count("https://all.example/"), urls.count("https://hot.example/")) == (5, 1)


def test_webhooks_of_another_account_receive_nothing(world: DeliveryWorld) -> None:
    world.webhook()
    signal = world.emit(account_id="0190a3c4-7d52-7b1e-8c1e-ffffffffffff")

    assert world.fan_out(signal) == 0


def test_a_repeated_fan_out_to_twenty_webhooks_creates_no_second_delivery(
    world: DeliveryWorld,
) -> None:
    for number in range(20):
        world.webhook(f"https://r{number}.example/")
    signal = world.emit()

    assert world.fan_out(signal) == 20
    assert world.fan_out(signal) == 20
    world.run()
    world.fan_out(signal)
    world.run()

    assert len(world.receiver.seen) == 20


# ---- The sweeper -------------------------------------------------------------------------------


def test_a_signal_whose_stream_record_was_lost_is_fanned_out_after_two_minutes(
    world: DeliveryWorld,
) -> None:
    world.webhook()
    world.emit()
    world.pass_time(119)
    assert world.sweep().signals == 0
    world.pass_time(2)

    assert world.sweep().signals == 1
    world.run()

    assert len(world.receiver.seen) == 1
    assert world.sweep().signals == 0


def test_a_delivery_whose_message_was_lost_is_sent_after_two_minutes(world: DeliveryWorld) -> None:
    world.webhook()
    world.fan_out(world.emit())
    world.sent.clear()
    world.pass_time(119)
    assert world.sweep().sent == 0
    world.pass_time(2)

    assert world.sweep().sent == 1
    world.run()

    assert len(world.receiver.seen) == 1


def test_the_sweeper_sends_a_retry_after_more_than_15_minutes_to_the_second(
    world: DeliveryWorld,
) -> None:
    webhook, signal = world.webhook(retry_schedule=(3_600,)), world.emit()
    world.receiver.always = 500
    world.fan_out(signal)
    world.run()
    assert world.sent == []
    at = world.delivery(signal, webhook).next_retry_at or 0
    world.pass_time((at - world.time) // SECOND - 120)
    assert world.sweep().sent == 0
    world.pass_time(61)
    assert world.sweep().sent == 1
    world.run()

    first, second = world.receiver.seen
    assert HOUR <= at - first.at <= HOUR * 1.1
    assert 0 <= second.at - at < SECOND


def test_a_delivery_that_five_sweeps_sent_in_vain_is_parked_as_internal(
    world: DeliveryWorld,
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    sweeps = []
    for minutes in (2, 2, 4, 8, 16, 32):
        world.sent.clear()  # every message is lost
        world.pass_time(minutes * 60)
        sweeps.append(world.sweep())

    assert (sum(one.sent for one in sweeps), sum(one.internal for one in sweeps)) == (5, 1)
    assert world.delivery(signal, webhook).parked is ParkReason.INTERNAL


def test_the_sweeper_leaves_a_running_attempt_alone(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    world.fan_out(world.emit())
    world.pass_time(150)
    sent = []
    world.receiver.answers[webhook.url] = [lambda: (sent.append(world.sweep().sent), 200)[1]]

    world.run()

    assert sent == [0]


def test_a_marker_is_deleted_only_after_the_index_must_be_up_to_date(world: DeliveryWorld) -> None:
    message = UnparkMessage(ACCOUNT, world.webhook().id)
    world.put_marker(message)

    world.sweep()
    assert store.list_markers(world.table, limit=5) == [(message, world.time)]
    world.pass_time(121)
    world.sweep()

    assert store.list_markers(world.table, limit=5) == []


def test_the_sweeper_does_a_recovery_whose_message_was_lost(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.answers[webhook.url] = [500] * 4
    world.fan_out(signal)
    world.run()
    world.pass_time(1)
    lowest = rules.lowest_id(world.time - DAY)
    world.put_marker(RecoverMessage(ACCOUNT, webhook.id, lowest, world.time))

    assert world.sweep().unparked == 1
    world.run()

    assert world.delivery(signal, webhook).status is DeliveryStatus.DELIVERED
    world.pass_time(180)
    world.sweep()
    assert store.list_markers(world.table, limit=5) == []


def test_a_signal_whose_fan_out_fails_does_not_stop_the_rest_of_the_sweep(
    world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.webhook()
    world.fan_out(world.emit())
    world.sent.clear()
    world.emit()
    world.pass_time(180)

    def fail(*_: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(signals, "mark_fanned_out", fail)

    with pytest.raises(Unavailable):
        world.sweep()
    world.run()

    assert len(world.receiver.seen) == 2
