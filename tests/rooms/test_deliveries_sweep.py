"""Fan-out, and what the sweeper does after lost messages, lost records and long waits."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from gatehouse.core.clock import DAY, HOUR, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import marker_store, message_rules, rules
from gatehouse.deliveries.model import (
    DeliveryStatus,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
)
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


def test_a_delivery_that_was_sent_five_times_in_vain_is_parked_as_internal(
    world: DeliveryWorld, logs: io.StringIO
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    sweeps = []
    for minutes in (2, 2, 4, 8, 16, 32):
        world.sent.clear()  # every message is lost
        world.pass_time(minutes * 60)
        sweeps.append(world.sweep())

    assert [one.sent for one in sweeps] == [1, 1, 1, 1, 1, 0]
    assert world.delivery(signal, webhook).parked is ParkReason.INTERNAL
    [line] = [json.loads(text) for text in logs.getvalue().splitlines()]
    assert line["internal"] == 1, "the alarm's filter counts this line"


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
    world.queue_message(message)

    world.run()
    assert world.markers() == [message]
    world.pass_time(121)
    world.sweep()

    assert world.markers() == []


def test_the_sweeper_asks_once_for_the_work_of_a_marker(world: DeliveryWorld) -> None:
    world.put_marker(UnparkMessage(ACCOUNT, world.webhook().id))
    asked = []
    for seconds in (59, 1, 60, 239, 1):
        world.pass_time(seconds)
        asked.append(world.sweep_only().markers)

    assert asked == [0, 1, 0, 0, 1]


def test_a_long_recovery_goes_on_by_messages_and_the_sweeper_lets_it(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    for _ in range(501):
        world.fan_out(world.emit())
    world.remove(webhook)
    world.run(most=600)
    world.restore(webhook)
    world.pass_time(1)
    message = RecoverMessage(ACCOUNT, webhook.id, rules.lowest_id(0), world.time)
    world.queue_message(message)

    world.process_next()
    following = [message_rules.read(body) for _, body in world.sent]
    [continued] = [one for one in following if isinstance(one, RecoverMessage)]
    assert (continued.sent, len(following)) == (500, 501)
    world.pass_time(121)
    assert world.sweep_only().markers == 0
    world.run(most=600)

    assert len(world.receiver.seen) == 501


def test_the_sweeper_does_a_recovery_whose_message_was_lost(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.answers[webhook.url] = [500] * 4
    world.fan_out(signal)
    world.run()
    world.pass_time(1)
    lowest = rules.lowest_id(world.time - DAY)
    world.put_marker(RecoverMessage(ACCOUNT, webhook.id, lowest, world.time))
    world.pass_time(121)

    assert world.sweep().unparked == 1
    world.run()

    assert world.delivery(signal, webhook).status is DeliveryStatus.DELIVERED
    world.pass_time(180)
    world.sweep()
    assert world.markers() == []


def test_an_error_in_one_part_of_a_sweep_does_not_stop_the_others(
    world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.webhook()
    world.fan_out(world.emit())
    world.sent.clear()
    world.emit()
    world.pass_time(180)

    def fail(*_: Any) -> None:
        raise Unavailable

    monkeypatch.setattr(marker_store, "list_all", fail)

    with pytest.raises(Unavailable):
        world.sweep_only()
    world.run()

    assert len(world.receiver.seen) == 2
