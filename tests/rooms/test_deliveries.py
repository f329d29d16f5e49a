"""From a signal to an answer of its receiver, and whatever can go wrong in between."""

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
from gatehouse.deliveries.attempt import work
from gatehouse.deliveries.model import Death, Go, Parked, Recover, Status, Wake
from gatehouse.dynamo.table import Tables, transact
from gatehouse.secrets import actions as vaults
from gatehouse.signals import actions as signals
from gatehouse.webhooks.model import Filters
from support.worlds.deliveries import ACCOUNT, SECRET, Works, payload


@pytest.fixture
def works(tables: Tables, settings_key: str, aws: pytest.MonkeyPatch) -> Works:
    assert settings_key
    aws.setenv("GATEHOUSE_SIGNAL_DAYS", "30")
    return Works(tables, vaults.vault(tables.main))


def test_a_signal_reaches_its_webhook_signed_in_both_ways(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit(urgency="0.9", to_ring="inner")
    works.fan_out(signal)

    [report] = works.run()

    [posted] = works.receiver.seen
    body = payload(posted)
    delivery = works.delivery(signal, webhook)
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


def test_what_was_delivered_is_written_down(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    works.run()

    delivery = works.delivery(signal, webhook)
    [attempt] = works.attempts(delivery)
    assert delivery.status is Status.DELIVERED
    assert (delivery.attempt_count, delivery.last_status_code) == (1, 200)
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 200, None)
    assert attempt.response == "said 200"
    assert works.reread(webhook).last_success_at is not None
    assert not works.sweep().sent


def test_retries_come_after_5_s_30_s_and_5_min_under_one_id_with_one_body(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.receiver.always = 500
    works.fan_out(signal)

    reports = works.run()

    seen = works.receiver.seen
    waits = [(later.at - earlier.at) // SECOND for earlier, later in itertools.pairwise(seen)]
    assert waits == [5, 30, 300]
    assert [report.outcome for report in reports] == ["retrying"] * 3 + ["dead_letter"]
    assert len({one.headers["webhook-id"] for one in seen}) == len({one.body for one in seen}) == 1
    delivery = works.delivery(signal, webhook)
    assert (delivery.status, delivery.reason) == (Status.DEAD_LETTER, Death.EXHAUSTED)
    assert [one.number for one in works.attempts(delivery)] == [1, 2, 3, 4]
    failing = works.reread(webhook)
    assert (failing.failing, failing.failure_count) == (True, 4)


def test_the_next_success_clears_failing(works: Works) -> None:
    webhook = works.webhook()
    works.receiver.answers[webhook.url] = [500] * 4
    works.fan_out(works.emit())
    works.run()
    assert works.reread(webhook).failing

    works.fan_out(works.emit())
    works.run()

    well = works.reread(webhook)
    assert (well.failing, well.failure_count, well.version) == (False, 0, webhook.version)


@pytest.mark.parametrize("kind", ["refused", "timeout", "tls", "unresolvable", "address"])
def test_no_answer_is_an_outcome_like_another(works: Works, kind: str) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.receiver.answers[webhook.url] = [kind]
    works.fan_out(signal)

    reports = works.run()

    assert [one.outcome for one in reports] == ["retrying", "delivered"]
    first, _ = works.attempts(works.delivery(signal, webhook))
    assert (first.status_code, first.error, first.response) == (None, kind, None)


def test_a_redirect_is_not_followed_and_named(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.receiver.answers[webhook.url] = [(301, {"location": "https://two.example"})]
    works.fan_out(signal)
    works.take()

    [attempt] = works.attempts(works.delivery(signal, webhook))
    assert (attempt.status_code, attempt.error) == (301, "redirect")
    assert len(works.receiver.seen) == 1


def test_retry_after_is_heeded(works: Works) -> None:
    webhook = works.webhook()
    works.receiver.answers[webhook.url] = [(429, {"retry-after": "120"})]
    works.fan_out(works.emit())
    works.run()

    first, second = works.receiver.seen
    assert (second.at - first.at) // SECOND == 120


def test_gone_switches_the_webhook_off_and_keeps_its_deliveries(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.receiver.answers[webhook.url] = [410]
    works.fan_out(signal)

    [report] = works.run()

    off = works.reread(webhook)
    delivery = works.delivery(signal, webhook)
    assert report.outcome == "parked"
    assert (off.active, off.disabled_reason) == (False, "gone")
    assert (delivery.status, delivery.parked) == (Status.PENDING, Parked.GONE)
    assert [one.status_code for one in works.attempts(delivery)] == [410]


def test_of_two_that_are_answered_410_both_are_kept(works: Works) -> None:
    webhook = works.webhook()
    first, second = works.emit(), works.emit(type="pulse")
    works.receiver.answers[webhook.url] = [lambda: (works.take(), 410)[1], 410]
    works.fan_out(first)
    works.fan_out(second)

    works.run()

    for signal in (first, second):
        assert works.delivery(signal, webhook).parked is Parked.GONE
    assert works.reread(webhook).version == webhook.version + 1


def test_what_is_gone_is_the_url_that_said_so(works: Works) -> None:
    """A webhook that was led elsewhere during the attempt stays on, and gets the delivery there."""
    webhook, signal = works.webhook(), works.emit()

    def moved() -> int:
        works.table.update(
            {"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id},
            "SET #url = :url, version = version + :one",
            condition="attribute_exists(pk)",
            names={"#url": "url"},
            values={":url": "https://two.example/in", ":one": 1},
        )
        return 410

    works.receiver.answers[webhook.url] = [moved]
    works.fan_out(signal)

    assert [one.outcome for one in works.run()] == ["retrying", "delivered"]
    assert [one.url for one in works.receiver.seen] == [webhook.url, "https://two.example/in"]
    assert works.reread(webhook).active


def test_a_paused_webhook_s_deliveries_wait_and_go_out_when_it_is_active(works: Works) -> None:
    webhook = works.webhook()
    works.switch(webhook, active=False)
    signals = [works.emit() for _ in range(3)]
    for signal in signals:
        works.fan_out(signal)
    assert [one.outcome for one in works.run()] == ["parked"] * 3
    assert works.receiver.seen == []
    works.pass_time(3_600)
    assert works.sweep().sent == 0

    works.switch(webhook, active=True)
    works.sent.append((works.time, rules.write(Wake(ACCOUNT, webhook.id))))
    works.run()

    assert len(works.receiver.seen) == 3
    assert {works.delivery(one, webhook).status for one in signals} == {Status.DELIVERED}


def test_a_pause_between_attempts_keeps_the_place_in_the_schedule(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.receiver.answers[webhook.url] = [500, 500, 500, 500]
    works.fan_out(signal)
    works.take()
    works.switch(webhook, active=False)
    works.run()
    works.pass_time(600)
    works.switch(webhook, active=True)
    works.sent.append((works.time, rules.write(Wake(ACCOUNT, webhook.id))))
    works.run()

    seen = works.receiver.seen
    assert [(b.at - a.at) // SECOND for a, b in itertools.pairwise(seen)] == [605, 30, 300]


def test_a_webhook_that_is_resumed_while_a_delivery_is_parked_keeps_none_waiting(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.switch(webhook, active=False)
    works.fan_out(signal)
    parked = rules.parked

    def resumed_just_now(*given: Any) -> Any:
        works.switch(webhook, active=True)
        return parked(*given)

    monkeypatch.setattr(rules, "parked", resumed_just_now)
    [report] = works.run()

    assert report.outcome == "delivered"


def test_a_deleted_webhook_s_deliveries_end_for_that_reason(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    works.remove(webhook)

    [report] = works.run()

    delivery = works.delivery(signal, webhook)
    assert report.outcome == "dead_letter"
    assert (delivery.status, delivery.reason) == (Status.DEAD_LETTER, Death.WEBHOOK_DELETED)
    assert works.receiver.seen == []


def test_parked_deliveries_of_a_deleted_webhook_end_too(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.switch(webhook, active=False)
    works.fan_out(signal)
    works.run()
    transact(
        works.table.client, [store.mark(works.table, Wake(ACCOUNT, webhook.id), now=works.time)]
    )
    works.remove(webhook)

    assert works.sweep().woken == 1
    works.run()

    assert works.delivery(signal, webhook).reason is Death.WEBHOOK_DELETED


def test_a_delivery_past_its_signal_s_retention_ends(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    works.pass_time(31 * 86_400)

    works.run()

    assert works.delivery(signal, webhook).reason is Death.SIGNAL_EXPIRED


def test_a_message_that_comes_twice_makes_no_further_post(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    works.sent *= 5
    works.receiver.answers[webhook.url] = [500]

    reports = works.run()

    assert len(works.receiver.seen) == 2
    assert [one.outcome for one in reports].count("dropped") == 4


def test_while_an_attempt_runs_nobody_else_makes_it(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    go = Go(rules.id_of(signal.id, webhook.id), 1)
    works.receiver.answers[webhook.url] = [
        lambda: (work(works.bench, go).outcome == "dropped", 200)[1]
    ]

    [report] = works.run()

    assert report.outcome == "delivered"
    assert len(works.receiver.seen) == 1


def test_an_attempt_that_outlives_its_lease_is_not_recorded_over_another(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    go = Go(rules.id_of(signal.id, webhook.id), 1)

    def slow() -> int:
        works.pass_time(31)
        assert work(works.bench, go).outcome == "delivered"
        return 500

    works.receiver.answers[webhook.url] = [slow]
    [report] = works.run()

    assert report.outcome == "dropped"
    assert works.delivery(signal, webhook).status is Status.DELIVERED


def test_a_changed_url_counts_from_the_next_attempt(works: Works) -> None:
    webhook = works.webhook()
    works.receiver.answers[webhook.url] = [500]
    works.fan_out(works.emit())
    works.take()
    works.table.update(
        {"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id},
        "SET #url = :url, version = version + :one",
        condition="attribute_exists(pk)",
        names={"#url": "url"},
        values={":url": "https://two.example/in", ":one": 1},
    )
    works.run()

    assert [one.url for one in works.receiver.seen] == [webhook.url, "https://two.example/in"]


def test_filters_are_anded_and_empty_ones_want_everything(works: Works) -> None:
    works.webhook("https://all.example/")
    works.webhook("https://hot.example/", filters=Filters(("inner",), ("alert",), "0.7"))
    for fields in (
        {"to_ring": "inner", "urgency": "0.7"},
        {"to_ring": "inner", "urgency": "0.69"},
        {"to_ring": "outer", "urgency": "0.9"},
        {"to_ring": "inner", "urgency": "0.9", "type": "pulse"},
        {"urgency": "0.9"},
    ):
        works.fan_out(works.emit(**fields))
    works.run()

    urls = [one.url for one in works.receiver.seen]
    assert (urls.count("https://all.example/"), urls.count("https://hot.example/")) == (5, 1)


def test_another_account_s_webhooks_get_nothing(works: Works) -> None:
    works.webhook()
    signal = works.emit(account_id="0190a3c4-7d52-7b1e-8c1e-ffffffffffff")

    assert works.fan_out(signal) == 0


def test_twenty_webhooks_get_a_signal_and_fan_out_done_twice_adds_none(works: Works) -> None:
    for number in range(20):
        works.webhook(f"https://r{number}.example/")
    signal = works.emit()

    assert works.fan_out(signal) == 20
    assert works.fan_out(signal) == 20
    works.run()
    works.fan_out(signal)
    works.run()

    assert len(works.receiver.seen) == 20


def test_a_lost_stream_record_is_mended_after_two_minutes(works: Works) -> None:
    works.webhook()
    works.emit()
    works.pass_time(119)
    assert works.sweep().signals == 0
    works.pass_time(2)

    assert works.sweep().signals == 1
    works.run()

    assert len(works.receiver.seen) == 1
    assert works.sweep().signals == 0


def test_a_lost_message_is_mended_after_two_minutes(works: Works) -> None:
    works.webhook()
    works.fan_out(works.emit())
    works.sent.clear()
    works.pass_time(119)
    assert works.sweep().sent == 0
    works.pass_time(2)

    assert works.sweep().sent == 1
    works.run()

    assert len(works.receiver.seen) == 1


def test_a_wait_over_fifteen_minutes_is_sent_by_the_sweeper_to_the_second(works: Works) -> None:
    works.webhook(retry_schedule=(3_600,))
    works.receiver.always = 500
    works.fan_out(works.emit())
    works.run()
    assert works.sent == []
    works.pass_time(58 * 60)
    assert works.sweep().sent == 0
    works.pass_time(61)
    assert works.sweep().sent == 1
    works.run()

    first, second = works.receiver.seen
    assert (second.at - first.at) // SECOND == HOUR // SECOND


def test_a_delivery_that_five_sweeps_did_not_move_is_parked_for_somebody_to_look(
    works: Works,
) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    swept = []
    for minutes in (2, 2, 4, 8, 16, 32):
        works.sent.clear()  # every message is lost
        works.pass_time(minutes * 60)
        swept.append(works.sweep())

    assert (sum(one.sent for one in swept), sum(one.internal for one in swept)) == (5, 1)
    assert works.delivery(signal, webhook).parked is Parked.INTERNAL


def test_a_mark_outlives_the_index_s_lag_and_then_goes(works: Works) -> None:
    webhook = works.webhook()
    transact(
        works.table.client, [store.mark(works.table, Wake(ACCOUNT, webhook.id), now=works.time)]
    )

    works.sweep()
    assert store.marks(works.table, limit=5) == [(Wake(ACCOUNT, webhook.id), works.time)]
    works.pass_time(121)
    works.sweep()

    assert store.marks(works.table, limit=5) == []


def test_everything_of_a_delivery_ends_by_itself_after_its_signal(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.fan_out(signal)
    works.run()

    items = works.table.query_all(f"DELIVERY#{rules.id_of(signal.id, webhook.id)}")
    ends = {(item["sk"], item["ttl"] * SECOND - signal.expires_at) for item in items}
    assert ends == {("ATTEMPT#000001", 7 * DAY), ("DELIVERY", 7 * DAY)}


def test_the_sweeper_leaves_an_attempt_that_runs_alone(works: Works) -> None:
    webhook = works.webhook()
    works.fan_out(works.emit())
    works.pass_time(150)
    swept = []
    works.receiver.answers[webhook.url] = [lambda: (swept.append(works.sweep().sent), 200)[1]]

    works.run()

    assert swept == [0]


def test_a_recovery_whose_message_was_lost_is_done_by_the_sweeper(works: Works) -> None:
    webhook, signal = works.webhook(), works.emit()
    works.receiver.answers[webhook.url] = [500] * 4
    works.fan_out(signal)
    works.run()
    works.pass_time(1)
    asked = Recover(ACCOUNT, webhook.id, rules.lowest_id(works.time - DAY), works.time)
    transact(works.table.client, [store.mark(works.table, asked, now=works.time)])

    assert works.sweep().woken == 1
    works.run()

    assert works.delivery(signal, webhook).status is Status.DELIVERED
    works.pass_time(180)
    works.sweep()
    assert store.marks(works.table, limit=5) == []


def test_a_signal_that_cannot_be_fanned_out_holds_up_nothing_else(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.webhook()
    works.fan_out(works.emit())
    works.sent.clear()
    works.emit()
    works.pass_time(180)
    monkeypatch.setattr(signals, "fanned_out", refuse)

    with pytest.raises(Unavailable):
        works.sweep()
    works.run()

    assert len(works.receiver.seen) == 2


def refuse(*_: Any) -> None:
    raise Unavailable
