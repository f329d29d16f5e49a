"""Deliveries to webhooks that are paused, answer 410, or are deleted."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gatehouse.core.clock import SECOND
from gatehouse.deliveries import rules
from gatehouse.deliveries.model import (
    DeadLetterReason,
    DeliveryStatus,
    ParkReason,
    UnparkMessage,
)
from support.worlds.deliveries import ACCOUNT, DeliveryWorld


def test_a_410_disables_the_webhook_and_parks_the_delivery(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.answers[webhook.url] = [410]
    world.fan_out(signal)

    [report] = world.run()

    disabled = world.reread(webhook)
    delivery = world.delivery(signal, webhook)
    assert report.outcome == "parked"
    assert (disabled.active, disabled.disabled_reason) == (False, "gone")
    assert (delivery.status, delivery.parked) == (DeliveryStatus.PENDING, ParkReason.GONE)
    assert [one.status_code for one in world.attempts(delivery)] == [410]


def test_two_concurrent_410s_park_both_deliveries_and_disable_once(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    first, second = world.emit(), world.emit(type="pulse")
    world.receiver.answers[webhook.url] = [lambda: (world.process_next(), 410)[1], 410]
    world.fan_out(first)
    world.fan_out(second)

    world.run()

    for signal in (first, second):
        assert world.delivery(signal, webhook).parked is ParkReason.GONE
    assert world.reread(webhook).version == webhook.version + 1


def test_a_410_of_an_old_url_leaves_the_webhook_active(world: DeliveryWorld) -> None:
    """If the URL changes during the attempt, the delivery is sent to the new one."""
    webhook, signal = world.webhook(), world.emit()

    def gone_after_a_change() -> int:
        world.set_url(webhook, "https://two.example/in")
        return 410

    world.receiver.answers[webhook.url] = [gone_after_a_change]
    world.fan_out(signal)

    assert [one.outcome for one in world.run()] == ["retrying", "delivered"]
    assert [one.url for one in world.receiver.seen] == [webhook.url, "https://two.example/in"]
    assert world.reread(webhook).active


def test_deliveries_of_a_paused_webhook_are_sent_when_it_is_activated(
    world: DeliveryWorld,
) -> None:
    webhook = world.webhook()
    world.set_active(webhook, active=False)
    emitted = [world.emit() for _ in range(3)]
    for signal in emitted:
        world.fan_out(signal)
    assert [one.outcome for one in world.run()] == ["parked"] * 3
    assert world.receiver.seen == []
    world.pass_time(3_600)
    assert world.sweep().sent == 0

    world.set_active(webhook, active=True)
    world.queue_message(UnparkMessage(ACCOUNT, webhook.id))
    world.run()

    assert len(world.receiver.seen) == 3
    assert {world.delivery(one, webhook).status for one in emitted} == {DeliveryStatus.DELIVERED}


def test_a_repeated_fan_out_sends_no_message_for_a_parked_delivery(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    world.set_active(webhook, active=False)
    signal = world.emit()
    assert world.fan_out(signal) == 1
    assert [one.outcome for one in world.run()] == ["parked"]

    assert world.fan_out(signal) == 1

    assert world.run() == []
    assert world.delivery(signal, webhook).parked is ParkReason.PAUSED


def test_a_pause_between_attempts_keeps_the_step_of_the_schedule(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.answers[webhook.url] = [500, 500, 500, 500]
    world.fan_out(signal)
    world.process_next()
    world.set_active(webhook, active=False)
    world.run()
    world.pass_time(600)
    world.set_active(webhook, active=True)
    world.queue_message(UnparkMessage(ACCOUNT, webhook.id))
    world.run()

    seen = world.receiver.seen
    waits = [(b.at - a.at) // SECOND for a, b in itertools.pairwise(seen)]
    assert waits[:2] == [605, 30]
    assert 300 <= waits[2] <= 330


def test_a_webhook_activated_while_a_delivery_is_parked_gets_it_at_once(
    world: DeliveryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.set_active(webhook, active=False)
    world.fan_out(signal)
    parked = rules.parked

    def activated_meanwhile(*args: Any) -> Any:
        world.set_active(webhook, active=True)
        return parked(*args)

    monkeypatch.setattr(rules, "parked", activated_meanwhile)
    [report] = world.run()

    assert report.outcome == "delivered"


def test_open_deliveries_of_a_deleted_webhook_are_given_up(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    world.remove(webhook)

    [report] = world.run()

    delivery = world.delivery(signal, webhook)
    assert report.outcome == "dead_letter"
    assert (delivery.status, delivery.reason) == (
        DeliveryStatus.DEAD_LETTER,
        DeadLetterReason.WEBHOOK_DELETED,
    )
    assert world.receiver.seen == []


def test_parked_deliveries_of_a_deleted_webhook_are_given_up(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.set_active(webhook, active=False)
    world.fan_out(signal)
    world.run()
    world.put_marker(UnparkMessage(ACCOUNT, webhook.id))
    world.remove(webhook)
    world.pass_time(121)

    assert world.sweep().unparked == 1
    world.run()

    assert world.delivery(signal, webhook).reason is DeadLetterReason.WEBHOOK_DELETED
