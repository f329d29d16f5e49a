"""What docs/costs.md multiplies with prices is counted here, on the real code."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.health_metrics import actions as stats
from gatehouse.keys import actions as keys
from support.actors.members import unlimited_admin
from support.actors.visitor import key_request
from support.aws import invocation, resources
from support.aws.api_gateway import Front
from support.aws.capacity import read_units
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.memory_table import size_of
from support.aws.stream_records import Stream, delivery, signal
from support.aws.write_units import counted
from support.worlds.deliveries import ACCOUNT, DeliveryWorld

sys.path.append(str(Path(__file__).parents[2] / "tools"))

import cost_counts
import costs

URL = "https://hooks.example.com/in"


@dataclass
class Units:
    """What a block of code read and wrote, and the items that it wrote."""

    reads: float = 0
    writes: Counter[str] = field(default_factory=Counter)

    @property
    def written(self) -> int:
        return sum(self.writes.values())


@contextmanager
def used(client: MemoryDynamo) -> Iterator[Units]:
    """Count read and write units until the block ends."""
    units = Units()
    send = client._call  # noqa: SLF001 - each request passes here

    def call(name: str, request: dict[str, Any], act: Any) -> dict[str, Any]:
        answer: dict[str, Any] = send(name, request, act)
        if name in {"GetItem", "Query"}:
            items = answer.get("Items", [answer["Item"]] if "Item" in answer else [])
            consistent = bool(request.get("ConsistentRead"))
            units.reads += read_units(sum(map(size_of, items)), consistent=consistent)
        return answer

    with counted(client) as counts, pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_call", call)
        yield units
        units.writes = counts.units


def _client(world: DeliveryWorld) -> MemoryDynamo:
    client = world.table.client
    assert isinstance(client, MemoryDynamo)
    return client


def _delivered(world: DeliveryWorld, *, failures: int = 0, content: str = "hot") -> Units:
    """Emit a signal to the world's webhooks, of whose attempts the first ones fail."""
    world.receiver.answers[URL] = [500] * failures
    with used(_client(world)) as units:
        world.fan_out(world.emit(content=content))
        world.run()
    world.pass_time(1)
    return units


def _requests(tables: Tables) -> dict[str, float]:
    admin = unlimited_admin(tables)
    client: Any = tables.main.client
    memory = credentials.Memory()
    with used(client) as creating:
        limited = keys.create(tables, admin.call(), key_request(rate_limit=100))
    free = keys.create(tables, admin.call(), key_request(rate_limit=None))
    for key in (limited, free):
        admin.admit(key.secret, memory)
    with used(client) as counting:
        assert admin.admit(limited.secret, memory).code is Code.VALID
    with used(client) as reading:
        assert admin.admit(free.secret, memory).code is Code.VALID
    assert (counting.reads, reading.written) == (0, 0)
    return {
        "request of a key with a limit, writes": counting.written,
        "request of a key without a limit, reads": reading.reads,
        "new key, writes": creating.written,
    }


def _attempts(world: DeliveryWorld) -> dict[str, float]:
    world.webhook(URL)
    _delivered(world)
    once = _delivered(world)
    items = _client(world).table(world.table.name).items.values()
    stored = max(size_of(one) for one in items if one["pk"]["S"].startswith("DELIVERY#"))
    large = _delivered(world, content="x" * 20_000)
    retried, twice = _delivered(world, failures=1), _delivered(world, failures=2)
    dead = _delivered(world, failures=4)
    return {
        "delivery, writes": once.written,
        "delivery, reads": once.reads,
        "stored delivery, bytes": round(stored, -2),
        "signal of 20 KB, writes": large.written,
        "first retry, writes": retried.written - once.written,
        "each further retry, writes": twice.written - retried.written,
        "retry, reads": twice.reads - retried.reads,
        "dead letter after four attempts, writes": dead.written,
    }


def _idle(front: Front, world: DeliveryWorld) -> dict[str, float]:
    with used(_client(world)) as sweeping:
        assert not any(front.function("sweeper").handler({}, invocation.Context()).values())
    assert sweeping.written == 0
    return {"idle sweep, reads": sweeping.reads}


def _counting(world: DeliveryWorld) -> dict[str, float]:
    stream = Stream()
    for name in ("first", "second"):
        stream.put(signal(ACCOUNT, name, at=world.time))
        stream.put(delivery(ACCOUNT, name, "delivered"))
    stats.count(world.table, "shard", stream.records[:2], now=world.time)
    with used(_client(world)) as counting:
        stats.count(world.table, "shard", stream.records[2:], now=world.time)
    return {
        "batch of the stream, writes": counting.written,
        "batch of the stream, reads": counting.reads,
    }


@pytest.mark.usefixtures("delivery_queue", "relay_queue")
def test_the_counts_that_the_costs_are_computed_from_are_those_of_the_code(
    front: Front, tables: Tables, world: DeliveryWorld
) -> None:
    found = _idle(front, world) | _requests(tables) | _attempts(world) | _counting(world)

    assert found == cost_counts.COUNTED, "change tools/cost_counts.py and run `make costs`"


def test_settings_that_the_costs_are_computed_from_are_those_of_the_template() -> None:
    template = resources.template()
    blocks = {name: one["Properties"] for name, one in template["Resources"].items()}
    default = template["Globals"]["Function"]["MemorySize"]

    def memory(function: str) -> float:
        return float(blocks[function].get("MemorySize", default)) / 1_024

    def batch(function: str) -> int:
        (event,) = blocks[function]["Events"].values()
        return int(event["Properties"]["BatchSize"])

    def many(kind: str, *, reads: str = "") -> int:
        found = [one for one in template["Resources"].values() if one["Type"] == kind]
        return sum(
            not reads
            or any(event["Type"] == reads for event in one["Properties"].get("Events", {}).values())
            for one in found
        )

    parameters = template["Parameters"]
    rule = blocks["TraceSamplingRule"]["SamplingRule"]
    assert {
        "authorizer, GB": memory("AuthorizerFunction"),
        "handler, GB": memory("SignalsFunction"),
        "fan-out, GB": memory("FanOutFunction"),
        "worker, GB": memory("DeliveryWorkerFunction"),
        "statistics, GB": memory("StatisticsFunction"),
        "sweeper, GB": memory("SweeperFunction"),
        "signals in a batch of the fan-out": batch("FanOutFunction"),
        "messages in a batch, fast lane": batch("DeliveryWorkerFunction"),
        "messages in a batch, slow lane": batch("SlowDeliveryWorkerFunction"),
        "changes in a batch of the statistics": batch("StatisticsFunction"),
        "days that signals are kept": parameters["SignalRetentionDays"]["Default"],
        "queues that Lambda polls": many("AWS::Serverless::Function", reads="SQS"),
        "alarms": many("AWS::CloudWatch::Alarm"),
        "share of requests that are traced": parameters["TraceSampling"]["Default"],
        "traced requests a second, at least": rule["ReservoirSize"],
    } == cost_counts.STACK


def test_the_tables_of_the_costs_are_computed() -> None:
    page = costs.PAGE.read_text()

    assert page == costs.text(), "run `make costs`"
    assert f"Creating a key takes {cost_counts.COUNTED['new key, writes']} write units" in page
