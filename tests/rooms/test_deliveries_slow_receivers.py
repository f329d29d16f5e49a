"""Deliveries on a table with DynamoDB's limits, while receivers hang: in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gatehouse.core.clock import SECOND, Micros
from gatehouse.deliveries import messages, rules
from gatehouse.deliveries.fan_out import fan_out
from gatehouse.webhooks import actions as webhooks
from support.worlds.under_fire import START, FireWorld, percentile, under_fire

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("aws")]

FIRST: float = 10  # seconds that the first attempts of hanging webhooks take


def fill(world: FireWorld, accounts: Sequence[str], signals: int) -> Micros:
    """Queue the deliveries of many signals, in turn for these accounts; return the time then."""

    def act() -> None:
        for number in range(signals):
            signal = world.emit(accounts[number % len(accounts)])
            fan_out(world.table, messages.queues(), signal, embedding=None, now=world.time.now)

    world.time.run(act)
    return world.time.now


def test_one_shard_fans_out_400_signals_a_second(
    record_property: Callable[[str, object], None],
) -> None:
    rate, seconds = 440, 5
    with under_fire() as world:
        accounts = [world.account() for _ in range(20)]
        for account in accounts:
            world.webhook(account, f"{account}.example")
        readers = world.start_readers(shards=1)

        def act() -> None:
            world.emit_steadily(accounts, rate=rate, seconds=seconds)
            while world.queue.sent < rate * seconds and world.time.seconds < START / SECOND + 60:
                world.time.sleep(0.05)

        world.time.run(act)
        took = world.time.seconds - START / SECOND
        record_property("signals a second", rate * seconds / took)

    assert world.queue.sent == rate * seconds
    assert readers.lost == []
    assert rate * seconds / took >= 400


def healthy_rate(hanging: int, *, after: float) -> float:
    """Return the deliveries a second after some seconds, while so many of 100 endpoints hang."""
    seconds = 2
    with under_fire(seed=hanging) as world:
        accounts = [world.account() for _ in range(100)]
        for number, account in enumerate(accounts):
            world.webhook(account, f"r{number}.example")
        # One of each ten, so that at first every batch of ten has one.
        world.receivers.hang(*[f"r{number}.example" for number in range(0, hanging * 10, 10)])
        began = fill(world, accounts, 7_000) + round(after * SECOND)
        world.start_workers()
        world.time.run(until=began + seconds * SECOND)
        assert world.queue.visible, "there was enough to do"
    counted = [
        one
        for one in world.receivers.arrivals
        if one.at >= began and world.receivers.answered[one.id]
    ]
    return len(counted) / seconds


def test_ten_percent_of_hanging_endpoints_leave_80_percent_of_the_rate(
    record_property: Callable[[str, object], None],
) -> None:
    usual = healthy_rate(0, after=1)
    with_hanging = healthy_rate(10, after=FIRST + 1)
    record_property("deliveries a second", [usual, with_hanging])

    assert with_hanging >= 0.8 * usual


def test_quiet_accounts_do_not_notice_one_with_a_hundred_hanging_webhooks(
    record_property: Callable[[str, object], None],
) -> None:
    with under_fire() as world:
        hostile = world.account()
        world.webhooks(hostile, 100, "bad")
        world.receivers.hang(*[f"bad{number}.example" for number in range(100)])
        quiet = [world.account() for _ in range(100)]
        hooks = {
            account: world.webhook(account, f"quiet{number}.example")
            for number, account in enumerate(quiet)
        }
        began = fill(world, [hostile], 200)  # 20,000 deliveries
        world.start_readers()
        world.start_workers()

        def act() -> None:
            world.emit_steadily(quiet, rate=25, seconds=30)
            world.time.sleep(12)

        world.time.run(act)
    arrived_at = {one.id: one.at for one in reversed(world.receivers.arrivals)}
    waits = [
        (arrived_at[f"delivery:{rules.id_of(one.id, hooks[one.account_id].id)}"] - one.created_at)
        / SECOND
        for one in world.signals
        if one.account_id in hooks and one.created_at >= began + FIRST * SECOND
    ]
    record_property("p50, p99 (s)", [percentile(waits, 0.5), percentile(waits, 0.99)])

    assert len(waits) > 400
    assert percentile(waits, 0.99) < 1


def test_a_webhook_is_marked_while_its_first_slow_attempt_still_runs() -> None:
    with under_fire() as world:
        account = world.account()
        webhook = world.webhook(account, "bad.example")
        world.receivers.hang("bad.example")
        fill(world, [account], 1)
        world.start_workers()

        def act() -> None:
            world.time.sleep(4.9)
            assert not webhooks.get(world.table, account, webhook.id).slowness.slow
            world.time.sleep(0.3)
            assert webhooks.get(world.table, account, webhook.id).slowness.slow

        world.time.run(act)
