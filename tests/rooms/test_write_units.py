"""What a signal and its deliveries cost: write units, as docs/benchmarks.md has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from support.aws.memory_dynamo import MemoryDynamo
from support.aws.write_units import counted
from support.worlds.deliveries import DeliveryWorld


@pytest.fixture
def units(world: DeliveryWorld) -> Iterator[Counter[str]]:
    client = world.table.client
    assert isinstance(client, MemoryDynamo)
    with counted(client) as counts:
        yield counts.units


def _deliver(world: DeliveryWorld, *, webhooks: int = 1) -> None:
    """Emit a signal and make its deliveries, after each webhook had its success of the minute."""
    for number in range(webhooks):
        world.webhook(f"https://r{number}.example/in")
    world.fan_out(world.emit())
    world.run()
    world.pass_time(1)


def _cost(world: DeliveryWorld, units: Counter[str], *, content: str = "hot") -> Counter[str]:
    units.clear()
    world.fan_out(world.emit(content=content))
    world.run()
    return units


def test_a_delivery_taken_at_once_costs_eight_units_with_its_signal(
    world: DeliveryWorld, units: Counter[str]
) -> None:
    _deliver(world)

    assert _cost(world, units) == {"signal": 1, "fanout": 2, "delivery": 3, "index by_due": 2}


def test_ten_webhooks_cost_five_units_each_beside_the_signals_three(
    world: DeliveryWorld, units: Counter[str]
) -> None:
    _deliver(world, webhooks=10)

    assert _cost(world, units) == {"signal": 1, "fanout": 2, "delivery": 30, "index by_due": 20}


def test_a_large_signal_is_written_once(world: DeliveryWorld, units: Counter[str]) -> None:
    _deliver(world)

    cost = _cost(world, units, content="x" * 20_000)
    assert cost == {"signal": 20, "fanout": 2, "delivery": 3, "index by_due": 2}


def test_the_first_success_in_a_minute_is_noted_on_the_webhook(
    world: DeliveryWorld, units: Counter[str]
) -> None:
    _deliver(world)
    world.pass_time(60)

    assert _cost(world, units)["webhook"] == 1


def test_a_retry_costs_nine_units_more_and_moves_its_first_attempt_out(
    world: DeliveryWorld, units: Counter[str]
) -> None:
    _deliver(world)
    world.receiver.answers["https://r0.example/in"] = [500]

    # The index by_due moves the delivery to its next time, by_listing has it until it is delivered.
    assert _cost(world, units) == {
        "signal": 1,
        "fanout": 2,
        "delivery": 5,
        "attempt": 1,
        "index by_due": 4,
        "index by_listing": 2,
        "webhook": 2,
    }
