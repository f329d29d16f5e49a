"""Ten thousand seeded runs of the real rooms with injected faults.

A failure names its seed: `Simulation(seed).run()` repeats the run.
"""

from __future__ import annotations

import os
import time

import pytest

from gatehouse.audit import rules as audit
from gatehouse.audit import store as audit_store
from gatehouse.audit.model import Chain
from gatehouse.core import ids
from gatehouse.deliveries import attempt_store, batch, store
from gatehouse.deliveries.model import DeadLetterReason, DeliveryStatus
from gatehouse.dynamo import lanes
from support.worlds.deliveries import ACCOUNT
from support.worlds.simulation import Simulation

# Two thousand runs in each `make test`; GATEHOUSE_SIMULATED=10 makes it ten thousand, in minutes.
PARTS, RUNS = int(os.environ.get("GATEHOUSE_SIMULATED", "2")), 1_000


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(ids, "secrets", ids.secrets)  # each run replaces these three
    monkeypatch.setattr(batch, "logger", batch.logger)
    monkeypatch.setattr(lanes, "each", lanes.each)
    monkeypatch.setattr(batch, "_measure", lambda _: None)


def _check(world: Simulation) -> None:
    observed = world.observed
    for _, webhook, delivery in world.expected():
        if delivery is None:
            assert webhook.id in world.removed, "a delivery is missing"
            continue
        if delivery.status is not DeliveryStatus.DELIVERED:
            assert delivery.status is DeliveryStatus.DEAD_LETTER, "a delivery did not end"
            if delivery.reason is DeadLetterReason.WEBHOOK_DELETED:
                assert webhook.id in world.removed
            else:
                assert delivery.reason is DeadLetterReason.EXHAUSTED
                assert delivery.step > len(webhook.schedule), "given up too early"
        attempts = attempt_store.list_all(world.table, delivery, limit=100)
        assert [one.number for one in attempts] == [*range(1, delivery.attempt_count + 1)]
        if delivery.status is DeliveryStatus.DELIVERED:
            assert attempts[-1].status_code == 200
        for one in attempts:
            assert one.status_code in observed.responses[delivery.id, one.number], (
                "an attempt without a POST"
            )
    for (delivery_id, number), responses in observed.responses.items():
        assert len(observed.bodies[delivery_id]) <= 1, "two attempts had different bodies"
        if (delivery_id, number) in observed.disturbed:
            continue
        assert len(responses) == 1, "a second POST without a fault"
        stored = store.find(world.table, delivery_id)
        assert stored is not None
        recorded = attempt_store.list_all(world.table, stored, limit=100)
        assert [one.status_code for one in recorded if one.number == number] == responses
    assert observed.internal == 0 or len(observed.faults) >= 5, (
        "parked as internal after few faults"
    )
    items = world.table.query_all(f"AUDIT#{ACCOUNT}#machine")
    trail = [item["event"] for item in items if item["sk"] != audit_store.HEAD]
    head = audit_store.read_head(world.table, ACCOUNT, Chain.MACHINE)
    assert audit.verify(trail, head) == []
    assert head.seq == len(trail)


def _run(seeds: range) -> list[Simulation]:
    worlds = []
    for seed in seeds:
        world = Simulation(seed)
        try:
            world.run()
            _check(world)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}; {world.observed.faults}") from error
        worlds.append(world)
    return worlds


@pytest.mark.slow
def test_three_hundred_runs_lose_no_delivery_and_inject_every_fault() -> None:
    worlds = _run(range(300))

    injected = {fault.split(" ", 1)[1] for world in worlds for fault in world.observed.faults}
    for name in ("TransactWriteItems", "UpdateItem", "GetItem", "Query", "Send"):
        for how in ("dies before", "dies after", "frozen before", "refused", "answer lost of"):
            assert f"{how} {name}" in injected
    assert injected >= {"record lost", "message lost", "message late", "message twice"}
    ends = {one.status for world in worlds for *_, one in world.expected() if one is not None}
    assert ends == {DeliveryStatus.DELIVERED, DeliveryStatus.DEAD_LETTER}
    assert sum(world.observed.slow for world in worlds) > 100
    assert any(
        len(answers) > 1 for world in worlds for answers in world.observed.responses.values()
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_thousand_runs_lose_no_delivery_and_repeat_under_one_id(part: int) -> None:
    _run(range(part * RUNS, (part + 1) * RUNS))
