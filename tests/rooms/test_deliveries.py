"""Attempts: what is posted, recorded, retried and given up."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools

import pytest

from gatehouse.core.clock import DAY, SECOND
from gatehouse.deliveries import attempt_store, rules
from gatehouse.deliveries.attempt import make_attempt
from gatehouse.deliveries.model import (
    AttemptMessage,
    DeadLetterReason,
    DeliveryStatus,
    ParkReason,
)
from gatehouse.dynamo.attributes import unmarshal
from gatehouse.outbound.client import Reply
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.memory_table import size_of
from support.worlds.deliveries import ACCOUNT, SECRET, DeliveryWorld, payload


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
    assert waits[:2] == [5, 30]
    assert 300 <= waits[2] <= 330
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
    world.receiver.answers[webhook.url] = [(504, {"retry-after": "0000000120"})]
    world.fan_out(world.emit())
    world.run()

    first, second = world.receiver.seen
    assert 120 <= (second.at - first.at) // SECOND <= 132


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
    message = AttemptMessage(rules.id_of(signal.id, webhook.id), 1, ACCOUNT, webhook.id)
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
    message = AttemptMessage(rules.id_of(signal.id, webhook.id), 1, ACCOUNT, webhook.id)

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
    world.receiver.answers[webhook.url] = [500]
    world.fan_out(signal)
    world.run()

    found = world.table.client.scan(TableName=world.table.name)["Items"]
    kinds = ("DELIVERY#", "ATTEMPT#")
    items = [unmarshal(item) for item in found if item["pk"]["S"].startswith(kinds)]
    ends = {(item["sk"], item["ttl"] * SECOND - signal.expires_at) for item in items}
    assert ends == {("000001", 7 * DAY), (rules.id_of(signal.id, webhook.id), 7 * DAY)}


def test_long_waits_differ_by_delivery_and_are_shown_as_they_are(world: DeliveryWorld) -> None:
    webhook = world.webhook(retry_schedule=(600, 600))
    signals = [world.emit() for _ in range(8)]
    world.receiver.always = 500
    for signal in signals:
        world.fan_out(signal)
    for _ in signals:
        world.process_next()

    shown = [world.delivery(signal, webhook).next_retry_at or 0 for signal in signals]
    assert len(set(shown)) == len(signals)
    assert all(600 * SECOND <= at - world.time <= 660 * SECOND for at in shown)
    for at in sorted(shown):
        world.process_next()
        assert 0 <= world.time - at < SECOND


def test_an_answer_that_breaks_after_a_2xx_is_delivered(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.always = Reply(201, {}, b"half", broken="timeout")
    world.fan_out(signal)
    world.run()

    delivery = world.delivery(signal, webhook)
    [attempt] = world.attempts(delivery)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert (attempt.status_code, attempt.error, attempt.response) == (201, "timeout", "half")


@pytest.mark.parametrize(
    ("reply", "status", "parked", "error"),
    [
        (
            Reply(410, {}, b"", broken="protocol"),
            DeliveryStatus.PENDING,
            ParkReason.GONE,
            "protocol",
        ),
        (
            Reply(429, {"retry-after": "50"}, b"", broken="connection"),
            DeliveryStatus.RETRYING,
            None,
            "connection",
        ),
        (Reply(302, {}, b"", broken="timeout"), DeliveryStatus.RETRYING, None, "redirect"),
    ],
)
def test_another_status_decides_as_well_if_the_answer_breaks(
    world: DeliveryWorld,
    reply: Reply,
    status: DeliveryStatus,
    parked: ParkReason | None,
    error: str,
) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.always = reply
    world.fan_out(signal)
    world.process_next()

    delivery = world.delivery(signal, webhook)
    [attempt] = world.attempts(delivery)
    assert (delivery.status, delivery.parked) == (status, parked)
    assert (attempt.status_code, attempt.error) == (reply.status, error)
    if reply.status == 429:
        assert delivery.next_retry_at == world.time + 50 * SECOND


def test_an_attempt_keeps_its_url_and_headers_and_no_sealed_value(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.always = Reply(500, {"server": "s", "set-cookie": "secret"}, b"no")
    world.fan_out(signal)
    world.process_next()
    world.receiver.always = "timeout"
    world.process_next()
    world.set_url(webhook, "https://two.example/in")
    world.process_next()

    first, second, third = world.attempts(world.delivery(signal, webhook))
    posted = world.receiver.seen[0].headers
    assert (first.url, second.url) == ("https://one.example/in", "https://one.example/in")
    assert third.url == "https://two.example/in"
    assert first.sent == {**posted, "X-A": None}
    assert first.received == {"server": "s", "set-cookie": None}
    assert (second.sent["X-A"], second.received) == (None, {})
    assert second.sent["webhook-signature"] == world.receiver.seen[1].headers["webhook-signature"]


USUAL = {
    "server": "cloudflare",
    "date": "Mon, 30 Nov 2026 16:42:00 GMT",
    "content-type": "application/json; charset=utf-8",
    "content-length": "17",
    "connection": "keep-alive",
    "x-request-id": "6f1c1d5e-52a5-4d44-9a28-0d1c6f7a9b3e",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "cf-ray": "8f1a2b3c4d5e6f70-FRA",
    "cf-cache-status": "DYNAMIC",
    "vary": "Accept-Encoding",
    "set-cookie": "a=b",
    "x-powered-by": "Express",
    "etag": 'W/"2-nOO9QiTIwXgNtWtBJezz8kv3SLc"',
}


def test_a_delivery_with_a_usual_response_is_one_write_unit(world: DeliveryWorld) -> None:
    webhook, signal = world.webhook("https://hooks.example.com/gatehouse/in"), world.emit()
    world.receiver.always = Reply(200, USUAL, b'{"received":true}')
    world.fan_out(signal)
    world.run()

    delivery = world.delivery(signal, webhook)
    assert delivery.last is not None
    assert delivery.last.received == {**USUAL, "set-cookie": None}
    client = world.table.client
    assert isinstance(client, MemoryDynamo)
    [item] = [
        item
        for (_, sk), item in client.table(world.table.name).items.items()
        if sk == delivery.id and "attempt" in item
    ]
    assert size_of(item) <= 900  # of 1,024: retrying deliveries have a little more
    assert attempt_store.decode(attempt_store.encode(delivery.last)) == delivery.last
