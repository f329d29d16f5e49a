"""How an attempt is recorded: by one write, whatever happens to its webhook or to the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import attempt_store, rules, store
from gatehouse.deliveries.model import Attempt, Delivered, Delivery, DeliveryStatus, Outcome
from gatehouse.dynamo.table import transact
from gatehouse.webhooks import writes as webhook_writes
from support.aws.faults import Killed, Wire, conflict_in_transaction, error, first, no_answer
from support.aws.memory_table import size_of
from support.worlds.deliveries import DeliveryWorld

BUSY: dict[str, Callable[[], Any]] = {
    "conflict": lambda: error("TransactionConflictException"),
    "throttled": lambda: error("ThrottlingException"),
    "unanswered": no_answer,
}


def _ready(world: DeliveryWorld) -> tuple[Any, Any]:
    webhook, signal = world.webhook(), world.emit()
    world.fan_out(signal)
    return webhook, signal


@pytest.mark.parametrize("fault", BUSY)
def test_a_success_is_recorded_once_though_its_webhook_cannot_be_written(
    world: DeliveryWorld, room_line: Wire, sleeps: list[float], fault: str
) -> None:
    webhook, signal = _ready(world)
    transact(world.table.client, [webhook_writes.mark_failing(world.table, webhook, now=1)])
    room_line.clear()

    def plan(number: int, operation: str) -> Any:
        # The first update is the claim; all others are of the webhook.
        busy = operation == "UpdateItem" and room_line.calls[:number].count(operation) > 1
        return BUSY[fault]() if busy else None

    room_line.before = plan
    [report] = world.run()

    assert report.outcome == "delivered"
    assert len(world.receiver.seen) == 1
    assert world.delivery(signal, webhook).status is DeliveryStatus.DELIVERED
    assert "TransactWriteItems" not in room_line.calls
    assert sum(sleeps) < 1


@pytest.mark.parametrize("fault", BUSY)
def test_a_success_waits_for_a_table_that_is_unavailable(
    world: DeliveryWorld, room_line: Wire, sleeps: list[float], fault: str
) -> None:
    _ready(world)
    room_line.before = first(7, BUSY[fault], "PutItem")

    [report] = world.run()

    assert report.outcome == "delivered"
    assert (len(world.receiver.seen), len(sleeps)) == (1, 7)


def test_a_table_that_stays_unavailable_lets_the_message_come_again(
    world: DeliveryWorld, room_line: Wire, sleeps: list[float]
) -> None:
    webhook, signal = _ready(world)
    room_line.before = first(99, BUSY["throttled"], "PutItem")

    with pytest.raises(Unavailable):
        world.run()

    assert 0 < sum(sleeps) < 20, "within the lease, after the longest attempt"
    assert world.delivery(signal, webhook).is_open


def test_a_record_whose_answer_was_lost_is_recognized(
    world: DeliveryWorld, room_line: Wire
) -> None:
    _ready(world)
    lost: list[str] = []

    def lose(_: int, operation: str) -> None:
        if operation == "PutItem" and not lost:
            lost.append(operation)
            no_answer()

    room_line.after = lose
    [report] = world.run()

    assert (report.outcome, lost) == ("delivered", ["PutItem"])
    assert len(world.receiver.seen) == 1


def test_the_next_message_is_sent_before_the_webhook_is_written(
    world: DeliveryWorld, room_line: Wire
) -> None:
    webhook, _ = _ready(world)
    world.receiver.answers[webhook.url] = [500]
    room_line.clear()

    def die(number: int, operation: str) -> None:
        if operation == "UpdateItem" and room_line.calls[:number].count(operation) > 1:
            raise Killed

    room_line.before = die
    with pytest.raises(Killed):
        world.process_next()
    room_line.clear()

    assert len(world.sent) == 1
    assert [one.outcome for one in world.run()] == ["delivered"]


def _dead(world: DeliveryWorld) -> tuple[Any, Any]:
    webhook, signal = world.webhook(), world.emit()
    world.receiver.always = 500
    world.fan_out(signal)
    return webhook, signal


def test_the_first_dead_letter_makes_its_webhook_failing_in_one_transaction(
    world: DeliveryWorld, room_line: Wire
) -> None:
    webhook, _ = _dead(world)
    room_line.clear()
    world.run()

    assert room_line.calls.count("TransactWriteItems") == 1
    assert world.reread(webhook).failing

    world.fan_out(world.emit())
    room_line.clear()
    world.run()

    assert "TransactWriteItems" not in room_line.calls, "the webhook is failing already"


def test_a_dead_letter_leaves_out_a_webhook_that_another_one_made_failing(
    world: DeliveryWorld, room_line: Wire, sleeps: list[float]
) -> None:
    webhook, signal = _dead(world)

    def conflict(_: int, operation: str) -> Any:
        if operation != "TransactWriteItems":
            return None
        room_line.before = None
        transact(world.table.client, [webhook_writes.mark_failing(world.table, webhook, now=1)])
        return conflict_in_transaction(2)

    room_line.before = conflict
    *_, report = world.run()

    assert report.outcome == "dead_letter"
    assert (len(world.receiver.seen), len(sleeps)) == (4, 1)
    assert world.delivery(signal, webhook).status is DeliveryStatus.DEAD_LETTER


def test_a_dead_letter_is_recorded_although_its_webhook_stays_busy(
    world: DeliveryWorld, room_line: Wire, sleeps: list[float]
) -> None:
    webhook, signal = _dead(world)
    room_line.before = first(99, lambda: conflict_in_transaction(2), "TransactWriteItems")

    *_, report = world.run()

    assert (report.outcome, len(world.receiver.seen)) == ("dead_letter", 4)
    assert world.delivery(signal, webhook).status is DeliveryStatus.DEAD_LETTER
    assert len(sleeps) >= 5


# ---- Where attempts are --------------------------------------------------------------------------


def test_attempts_are_listed_from_both_places_oldest_first(world: DeliveryWorld) -> None:
    webhook, signal = _ready(world)
    world.receiver.answers[webhook.url] = [500, "timeout"]
    world.run()
    delivery = world.delivery(signal, webhook)

    for limit, numbers in ((1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (100, [1, 2, 3])):
        found = attempt_store.list_all(world.table, delivery, limit=limit)
        assert [one.number for one in found] == numbers


def test_an_attempt_in_both_places_is_listed_once(world: DeliveryWorld) -> None:
    webhook, signal = _ready(world)
    world.receiver.answers[webhook.url] = [500]
    world.process_next()
    delivery = world.delivery(signal, webhook)

    attempt_store.move_out(world.table, delivery)  # and then the process died
    assert [one.number for one in world.attempts(delivery)] == [1]
    world.run()
    assert [one.number for one in world.attempts(world.delivery(signal, webhook))] == [1, 2]


HEADERS = {
    "Date": "Mon, 30 Nov 2026 16:30:22 GMT",
    "Content-Type": "application/json; charset=utf-8",
    "Server": "nginx/1.27.1",
    "X-Request-Id": "4f1c2a8e-7d52-4b1e-9c1e-2f3a4b5c6d7e",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Cache-Control": "no-store",
}
SENT = {
    "User-Agent": "Chorus-Webhook/1.0",
    "Content-Type": "application/json",
    "X-Chorus-Event": "alert",
    "X-Chorus-Delivery": "delivery:01945d3c-5c00-739d-a894-4e2c119144ac",
    "webhook-id": "delivery:01945d3c-5c00-739d-a894-4e2c119144ac",
    "webhook-timestamp": "1800000000",
    "webhook-signature": "(sealed)",
    "X-Chorus-Signature": "(sealed)",
    "Authorization": "(sealed)",
}


@pytest.mark.parametrize(
    "attempt",
    [
        Attempt(1, 1_800_000_000_000_000, 12, 204, None, ""),
        Attempt(2, 1_800_000_000_000_000, 10_000, None, "timeout", None, "https://a.example/in"),
        Attempt(
            3,
            1_800_000_000_000_000,
            48,
            200,
            None,
            '{"ok":true}',
            "https://a.example/in",
            SENT,
            HEADERS,
        ),
    ],
)
def test_an_attempt_with_its_headers_fits_into_one_unit_of_its_delivery(
    world: DeliveryWorld, attempt: Attempt
) -> None:
    webhook, signal = _ready(world)
    seen = world.delivery(signal, webhook)
    after = _delivered(replace(seen, last=attempt), attempt)

    assert store.record(world.table, after, seen=seen)

    assert world.delivery(signal, webhook) == after
    found = world.table.client.scan(TableName=world.table.name)["Items"]
    [item] = [one for one in found if one["sk"] == {"S": seen.id}]
    assert size_of(item) <= 1_024


def _delivered(delivery: Delivery, attempt: Attempt) -> Delivery:
    outcome = Outcome(attempt.status_code)
    return rules.after_attempt(delivery, outcome, action=Delivered(), now=attempt.started_at)
