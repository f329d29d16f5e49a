"""Fan-out of a batch of stream records: side by side, and no signal holds up another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core import ids
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import message_rules, rules
from gatehouse.deliveries.fan_out import fan_out_records
from gatehouse.deliveries.model import AttemptMessage, FanOutMessage
from gatehouse.signals.model import Signal
from support.aws.faults import Wire
from support.aws.memory_dynamo import client_error
from support.worlds.deliveries import ACCOUNT, DeliveryWorld


class Unsendable(Queue):
    """A queue that is unavailable."""

    def send(self, messages: Sequence[Outgoing]) -> None:
        del messages
        raise Unavailable


def messages(world: DeliveryWorld) -> list[AttemptMessage | FanOutMessage]:
    return [message_rules.read(body) for _, body in world.sent]  # type: ignore[misc]


def fail_call(line: Wire, number: int) -> None:
    """Let the table refuse one call from now on, by its number."""
    line.clear()

    def before(call: int, name: str) -> None:
        if call == number:
            raise client_error(name, "ThrottlingException")

    line.before = before


def test_signals_of_a_batch_reach_every_webhook_by_one_reading(
    world: DeliveryWorld, room_line: Wire
) -> None:
    webhooks = [world.webhook(f"https://r{number}.example/in") for number in range(3)]
    signals = [world.emit() for _ in range(25)]
    room_line.clear()

    done = world.fan_out_records(signals)

    assert done.errors == {}
    assert done.deliveries == {signal.id: 3 for signal in signals}
    assert room_line.calls.count("Query") == 1
    world.run()
    posted = {(one.headers["webhook-id"], one.url) for one in world.receiver.seen}
    assert posted == {
        (f"delivery:{rules.id_of(signal.id, webhook.id)}", webhook.url)
        for signal in signals
        for webhook in webhooks
    }


def test_messages_of_one_account_form_one_group(world: DeliveryWorld) -> None:
    world.webhook("https://one.example/in")
    world.webhook("https://two.example/in")
    sent: list[Outgoing] = []

    class Recorded(Queue):
        def send(self, messages: Sequence[Outgoing]) -> None:
            sent.extend(messages)

    queue = Recorded(world.queue.url, world.queue.client)
    fan_out_records(world.table, queue, [world.emit()], embedding=None, now=world.time)

    assert [one.group for one in sent] == [ACCOUNT, ACCOUNT]


@pytest.mark.parametrize("call", [2, 4], ids=["the first delivery", "the first mark"])
def test_a_signal_whose_fan_out_fails_becomes_a_message_and_holds_up_no_other(
    world: DeliveryWorld, room_line: Wire, call: int
) -> None:
    webhook = world.webhook()
    signals = [world.emit(), world.emit()]
    fail_call(room_line, call)

    done = world.fan_out_records(signals)

    failed, other = sorted(signals, key=lambda one: one.id not in done.errors)
    assert (list(done.errors), done.left) == ([failed.id], frozenset())
    assert done.deliveries == {other.id: 1}
    assert FanOutMessage(ACCOUNT, failed.id) in messages(world)
    world.run()
    assert [world.delivery(one, webhook).attempt_count for one in signals] == [1, 1]
    world.pass_time(600)
    assert world.sweep().signals == 0


def test_webhooks_that_cannot_be_read_concern_the_signals_of_their_account_alone(
    world: DeliveryWorld, room_line: Wire
) -> None:
    world.webhook()
    mine, other = world.emit(), world.emit(account_id=ids.new(world.time))
    fail_call(room_line, 1)

    done = world.fan_out_records([mine, other])

    # The accounts' webhooks are read side by side, so either read can be the first.
    failed, fine = sorted((mine, other), key=lambda one: one.id not in done.errors)
    assert (list(done.errors), done.deliveries) == ([failed.id], {fine.id: int(fine is mine)})
    repeated = [one for one in messages(world) if isinstance(one, FanOutMessage)]
    assert repeated == [FanOutMessage(failed.account_id, failed.id)]


def test_only_what_has_no_message_either_is_left_to_the_stream(world: DeliveryWorld) -> None:
    world.webhook()
    signals = [world.emit(), world.emit()]
    queue = Unsendable(world.queue.url, world.queue.client)

    done = fan_out_records(world.table, queue, signals, embedding=None, now=world.time)

    assert done.left == set(done.errors) == {signal.id for signal in signals}
    again = world.fan_out_records(signals)
    assert (again.errors, again.left) == ({}, frozenset())
    world.run()
    assert len(world.receiver.seen) == 2


def test_an_unavailable_embedding_queue_fails_every_signal_of_the_batch(
    world: DeliveryWorld,
) -> None:
    world.webhook()
    signals = [world.emit(), world.emit()]
    embedding = Unsendable(world.queue.url, world.queue.client)

    done = fan_out_records(world.table, world.outbox, signals, embedding=embedding, now=world.time)

    assert (done.left, set(done.errors)) == (frozenset(), {one.id for one in signals})
    assert sum(isinstance(one, FanOutMessage) for one in messages(world)) == 2


def test_a_message_for_a_signal_that_was_fanned_out_creates_nothing(world: DeliveryWorld) -> None:
    signal = world.emit()
    world.fan_out(signal)
    world.webhook()  # created later, so this signal is not for it
    world.queue_message(FanOutMessage(ACCOUNT, signal.id))
    world.queue_message(FanOutMessage(ACCOUNT, ids.new(world.time)))

    world.run()

    assert world.receiver.seen == []


def test_a_bug_in_one_signal_becomes_its_message(world: DeliveryWorld) -> None:
    world.webhook()
    broken: Signal = replace(world.emit(), id="no id")
    other = world.emit()

    done = world.fan_out_records([other, broken])

    assert (list(done.errors), done.deliveries) == (["no id"], {other.id: 1})
