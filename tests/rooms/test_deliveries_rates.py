"""How many signals a second become deliveries, on a table with DynamoDB's limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.worlds.under_fire import FireWorld, under_fire

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def world() -> Iterator[FireWorld]:
    with under_fire() as made:
        yield made


@pytest.mark.parametrize(
    ("webhooks", "signals", "budget"), [(1, 1_000, 400), (10, 200, 100), (100, 40, 20)]
)
def test_one_shard_of_the_stream_is_fanned_out_within_its_budget(
    world: FireWorld,
    record_property: Callable[..., None],
    *,
    webhooks: int,
    signals: int,
    budget: int,
) -> None:
    """Signals a second. The first design did 45, 36 and 5."""
    account = world.account()
    world.webhooks(account, webhooks)
    world.start_readers()
    for _ in range(signals):
        world.emit(account)  # before the run, so that it takes no time
    start = world.time.seconds

    def act() -> None:
        while world.queue.sent < webhooks * signals:
            world.time.sleep(0.01)

    world.time.run(act)

    rate = signals / (world.time.seconds - start)
    record_property("signals_a_second", round(rate))
    assert rate >= budget


@pytest.mark.slow
def test_one_account_emits_1000_signals_a_second_and_all_are_delivered_at_once(
    world: FireWorld, record_property: Callable[..., None]
) -> None:
    """For six seconds: capacity that was saved is used up in the first, so more change nothing."""
    account = world.account()
    world.webhook(account, "r.example")
    world.start_readers(shards=4)
    world.start_workers()
    start = world.time.seconds

    def act() -> None:
        world.emit_steadily([account], rate=1_000, seconds=6, at_once=40)
        assert world.time.seconds - start < 6.5
        world.time.sleep(2)

    world.time.run(act)

    emitted = {one.created_at for one in world.signals}
    assert len(world.receivers.answered) == len(world.signals) == 6_000
    last = max(one.at for one in world.receivers.arrivals)
    record_property("last_ms", (last - max(emitted)) // 1_000)
    assert last - max(emitted) < 1_000_000
    assert not world.dynamo.refused
