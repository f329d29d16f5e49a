"""Deliveries from fan-out to the receiver's response, and everything that can fail in between."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
from typing import Any

import pytest

from gatehouse.core.clock import DAY, HOUR, SECOND
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.attempt import make_attempt
from gatehouse.deliveries.model import (
    AttemptMessage,
    DeadLetterReason,
    DeliveryStatus,
    ParkReason,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.dynamo.table import Tables
from gatehouse.secrets import actions as vaults
from gatehouse.signals import actions as signals
from gatehouse.webhooks.model import Filters
from support.worlds.deliveries import ACCOUNT, SECRET, DeliveryWorld, payload


@pytest.fixture
def world(tables: Tables, settings_key: str, aws: pytest.MonkeyPatch) -> DeliveryWorld:
    assert settings_key
    aws.setenv("GATEHOUSE_SIGNAL_DAYS", "30")
    return DeliveryWorld(tables, vaults.vault(tables.main))


# ---- Attempts ----------------------------------------------------------------------------------


def test_a_signal_is_posted_to_its_webhook_with_both_signatures(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit(urgency="0.9", to_ring="inner")
    world.fan_out(signal)

    [report] = world.run()

    [posted] = world.receiver.seen
    body = payload(posted)
    delivery = world.delivery(signal, webhook)
    assert report.outcome == "delivered"
    assert (body["id"], body["content"], body["to_ring"]) == (f"signal:{signal.id}", "hot", "inner")
    assert posted.headers["X-A"] == "b"
    assert posted.headers["X-Chorus-Event"] == "alert"
    assert posted.headers["User-Agent"] == "Chorus-Webhook/1.0"
    assert posted.headers["webhook-id"] == posted.headers["X-Chorus-Delivery"]
    assert posted.headers["webhook-id"] == f"delivery:{delivery.id}"
    by_text = hmac.new(SECRET.encode(), posted.body, hashlib.sha256).hexdigest()
    assert posted.headers["X-Chorus-Signature"] == f"sha256={by_text}"
    signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode()
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    by_bytes = base64.b64encode(hmac.digest(key, signed + posted.body, "sha256")).decode()
    assert posted.headers["webhook-signature"] == f"v1,{by_bytes}"


def test_a_success_is_stored_with_its_attempt(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    world.run()

    delivery = world.delivery(signal, webhook)
    [attempt] = world.attempts(delivery)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert (delivery.attempt_count, delivery.last_status_code) == (1, 200)
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 200, None)
    assert attempt.response == "said 200"
    assert world.reread(webhook).last_success_at is not None
    assert not world.sweep().sent


def test_retries_come_after_5_s_30_s_and_5_min_with_the_same_id_and_body(
    world: DeliveryWorld,
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.always = 500
    world.fan_out(signal)

    reports = world.run()

    seen = world.receiver.seen
    waits = [(later.at - earlier.at) // SECOND for earlier, later in itertools.pairwise(seen)]
    assert waits == [5, 30, 300]
    assert [report.outcome for report in reports] == ["retrying"] * 3 + ["dead_letter"]
    assert len({one.headers["webhook-id"] for one in seen}) == len({one.body for one in seen}) == 1
    delivery = world.delivery(signal, webhook)
    assert (delivery.status, delivery.reason) == (
        DeliveryStatus.DEAD_LETTER,
        DeadLetterReason.EXHAUSTED,
    )
    assert [one.number for one in world.attempts(delivery)] == [1, 2, 3, 4]
    failing = world.reread(webhook)
    assert (failing.failing, failing.failure_count) == (True, 4)


def test_the_next_success_clears_failing(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    world.receiver.answers[webhook.url] = [500] * 4
    world.fan_out(world.emit())
    world.run()
    assert world.reread(webhook).failing

    world.fan_out(world.emit())
    world.run()

    after = world.reread(webhook)
    assert (after.failing, after.failure_count, after.version) == (False, 0, webhook.version)


@pytest.mark.parametrize("kind", ["refused", "timeout", "tls", "unresolvable", "address"])
def test_an_attempt_without_a_response_is_recorded_and_retried(
    world: DeliveryWorld, kind: str
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.answers[webhook.url] = [kind]
    world.fan_out(signal)

    reports = world.run()

    assert [one.outcome for one in reports] == ["retrying", "delivered"]
    first, _ = world.attempts(world.delivery(signal, webhook))
    assert (first.status_code, first.error, first.response) == (None, kind, None)


def test_a_redirect_is_recorded_and_not_followed(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.answers[webhook.url] = [(301, {"location": "https://two.example"})]
    world.fan_out(signal)
    world.process_next()

    [attempt] = world.attempts(world.delivery(signal, webhook))
    assert (attempt.status_code, attempt.error) == (301, "redirect")
    assert len(world.receiver.seen) == 1


def test_retry_after_lengthens_the_wait(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    world.receiver.answers[webhook.url] = [(429, {"retry-after": "120"})]
    world.fan_out(world.emit())
    world.run()

    first, second = world.receiver.seen
    assert (second.at - first.at) // SECOND == 120


def test_a_repeated_message_makes_no_second_post(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    world.sent *= 5
    world.receiver.answers[webhook.url] = [500]

    reports = world.run()

    assert len(world.receiver.seen) == 2
    assert [one.outcome for one in reports].count("dropped") == 4


def test_no_other_worker_makes_an_attempt_that_is_running(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    message = AttemptMessage(rules.id_of(signal.id, webhook.id), 1)
    world.receiver.answers[webhook.url] = [
        lambda: (make_attempt(world.worker, message).outcome == "dropped", 200)[1]
    ]

    [report] = world.run()

    assert report.outcome == "delivered"
    assert len(world.receiver.seen) == 1


def test_an_attempt_that_outlives_its_lease_does_not_overwrite_another(
    world: DeliveryWorld,
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    message = AttemptMessage(rules.id_of(signal.id, webhook.id), 1)

    def slow() -> int:
        world.pass_time(31)
        assert make_attempt(world.worker, message).outcome == "delivered"
        return 500

    world.receiver.answers[webhook.url] = [slow]
    [report] = world.run()

    assert report.outcome == "dropped"
    assert world.delivery(signal, webhook).status is DeliveryStatus.DELIVERED


def test_a_changed_url_is_used_from_the_next_attempt(world: DeliveryWorld) -> None:
    webhook = world.webhook()
    world.receiver.answers[webhook.url] = [500]
    world.fan_out(world.emit())
    world.process_next()
    world.set_url(webhook, "https://two.example/in")
    world.run()

    assert [one.url for one in world.receiver.seen] == [webhook.url, "https://two.example/in"]


def test_a_delivery_whose_signal_expired_is_given_up(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    world.pass_time(31 * 86_400)

    world.run()

    assert world.delivery(signal, webhook).reason is DeadLetterReason.SIGNAL_EXPIRED


def test_a_delivery_and_its_attempts_expire_a_week_after_the_signal(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    world.run()

    items = world.table.query_all(f"DELIVERY#{rules.id_of(signal.id, webhook.id)}")
    ends = {(item["sk"], item["ttl"] * SECOND - signal.expires_at) for item in items}
    assert ends == {("ATTEMPT#000001", 7 * DAY), ("DELIVERY", 7 * DAY)}


# ---- Inactive, gone and deleted webhooks -------------------------------------------------------


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
    assert [(b.at - a.at) // SECOND for a, b in itertools.pairwise(seen)] == [605, 30, 300]


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

    assert world.sweep().unparked == 1
    world.run()

    assert world.delivery(signal, webhook).reason is DeadLetterReason.WEBHOOK_DELETED


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
    world.webhook(retry_schedule=(3_600,))
    world.receiver.always = 500
    world.fan_out(world.emit())
    world.run()
    assert world.sent == []
    world.pass_time(58 * 60)
    assert world.sweep().sent == 0
    world.pass_time(61)
    assert world.sweep().sent == 1
    world.run()

    first, second = world.receiver.seen
    assert (second.at - first.at) // SECOND == HOUR // SECOND


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
