"""What a minute of the sweeper and a recovery cost, on a table with DynamoDB's limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from gatehouse.core import ids
from gatehouse.core.clock import DAY, HOUR, MINUTE, SECOND
from gatehouse.core.grants import FULL
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.deliveries import actions as deliveries
from gatehouse.deliveries import marker_store, messages, partition_rules, rules, store, sweep
from gatehouse.deliveries.model import (
    DeadLetterReason,
    Delivery,
    DeliveryStatus,
    RecoverMessage,
)
from gatehouse.deliveries.sweep import DeliverySweep
from gatehouse.dynamo import attributes, keyspace
from gatehouse.dynamo.table import transact
from gatehouse.keys import store as key_store
from gatehouse.keys.model import Key
from gatehouse.signals import store as signal_store
from gatehouse.webhooks.model import Webhook
from support.worlds.under_fire import FireWorld, under_fire

pytestmark = pytest.mark.usefixtures("aws")

RECOVERIES = 25


@pytest.fixture
def world() -> Iterator[FireWorld]:
    with under_fire() as made:
        yield made


def _deliveries(world: FireWorld, webhook: Webhook, count: int) -> list[Delivery]:
    """Return deliveries of signals that are stored and were attempted once."""
    made = []
    for _ in range(count):
        signal = world.emit(webhook.account_id)
        signal_store.mark_fanned_out(world.table, signal.id)
        one = rules.new_delivery(
            id=rules.id_of(signal.id, webhook.id),
            account_id=webhook.account_id,
            webhook_id=webhook.id,
            signal_id=signal.id,
            event=signal.type,
            signal_ends_at=signal.expires_at,
            now=world.time.now - HOUR,
        )
        made.append(replace(one, next_attempt=2, step=1))
    return made


def _load(world: FireWorld, made: list[Delivery]) -> None:
    writes = [store.create(world.table, one) for one in made]
    world.dynamo.load(world.table.name, [write.request["Item"] for write in writes])


def _open_recovery(world: FireWorld, webhook: Webhook) -> None:
    asked_at = world.time.now - 3 * MINUTE
    message = RecoverMessage(webhook.account_id, webhook.id, rules.lowest_id(0), asked_at)
    transact(world.table.client, [marker_store.put(world.table, message, now=asked_at)])


def test_a_sweep_with_25_open_recoveries_and_every_shard_due_takes_under_5_s(
    world: FireWorld, record_property: Callable[..., None]
) -> None:
    """Then workers do it all: what the sweeper did itself in the first design, in 242 s.

    It reads one due entry of a shard and each marker, so 64,000 entries and 600 dead letters of
    each recovery take as long as these 640 and 20.
    """
    recovered, due = 20, 640
    for number in range(RECOVERIES):
        webhook = world.webhook(world.account(), f"r{number}.example")
        died = world.time.now - HOUR // 2
        _load(
            world,
            [
                rules.dead_letter(one, DeadLetterReason.EXHAUSTED, died)
                for one in _deliveries(world, webhook, recovered)
            ],
        )
        _open_recovery(world, webhook)
    webhook = world.webhook(world.account(), "due.example")
    waiting = {"status": DeliveryStatus.RETRYING, "unsent": True, "due_at": world.time.now - 1}
    at = world.time.now + 5 * SECOND
    _load(
        world,
        [
            replace(one, next_retry_at=at, **waiting)  # type: ignore[arg-type]
            for one in _deliveries(world, webhook, due)
        ],
    )
    world.start_workers()
    took: list[float] = []

    def act() -> None:
        start = world.time.seconds
        done = sweep.sweep(world.table, messages.queues(), now=world.time.now)
        took.append(world.time.seconds - start)
        assert done == DeliverySweep(shards=rules.SHARDS, markers=RECOVERIES)
        world.time.sleep(15)

    world.time.run(act)

    record_property("seconds", round(took[0], 2))
    assert took[0] < 5
    assert len(world.receivers.answered) == RECOVERIES * recovered + due
    assert set(world.receivers.answered.values()) == {1}


@pytest.mark.slow
def test_a_recovery_of_100000_dead_letters_is_answered_within_2_s(
    world: FireWorld, record_property: Callable[..., None]
) -> None:
    """It counts them, and a worker replays them. The first design read each, in 9.4 s."""
    account = world.account()
    webhook = world.webhook(account, "r.example")
    key = Key("key", account, account, "default", "hk", "", FULL, account, world.time.now)
    transact(world.table.client, list(key_store.create(world.table, key).values()))
    caller = Principal("key", account, account, "hk", FULL, True, "central", "active", False)  # noqa: FBT003
    call = Call("request", world.time.now, caller)

    def listed() -> dict[str, str]:
        id_ = rules.id_of(ids.new(world.time.now - DAY), webhook.id)
        part, lane = partition_rules.partition_of(id_)
        state = DeliveryStatus.DEAD_LETTER.value
        return {
            "pk": keyspace.DELIVERY.pk(part, lane),
            "sk": id_,
            "listed_pk": keyspace.LISTED.pk(webhook.id, state, lane),
        }

    world.dynamo.load(world.table.name, [attributes.marshal(listed()) for _ in range(100_000)])
    start = world.time.seconds

    def act() -> None:
        answer = deliveries.recover(
            world.table,
            call,
            messages.queues(),
            webhook_id=webhook.id,
            since=0,
            answered=lambda count: count,  # type: ignore[arg-type, return-value]
        )
        assert answer == 100_000

    world.time.run(act)

    record_property("seconds", round(world.time.seconds - start, 2))
    assert world.time.seconds - start < 2
