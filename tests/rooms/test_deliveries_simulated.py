"""Ten thousand seeded runs of the real rooms in a world where everything goes wrong at times.

A failure names its seed: `Simulation(seed).run()` does the same again.
"""

from __future__ import annotations

import time

import pytest

from gatehouse.audit import rules as audit
from gatehouse.audit import store as audit_store
from gatehouse.core import ids
from gatehouse.deliveries import store
from gatehouse.deliveries.model import Death, Status
from support.worlds.deliveries import ACCOUNT
from support.worlds.simulation import Simulation

PARTS, RUNS = 10, 1_000


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(ids, "secrets", ids.secrets)  # each run brings its own


def _check(world: Simulation) -> None:
    told = world.told
    for _, webhook, delivery in world.expected():
        if delivery is None:
            assert webhook.id in world.removed, "a delivery that was never made"
            continue
        if delivery.status is not Status.DELIVERED:
            assert delivery.status is Status.DEAD_LETTER, "a delivery that was lost"
            if delivery.reason is Death.WEBHOOK_DELETED:
                assert webhook.id in world.removed
            else:
                assert delivery.reason is Death.EXHAUSTED
                assert delivery.step > len(webhook.schedule), "given up too early"
        attempts = store.attempts(world.table, delivery.id, limit=100)
        assert [one.number for one in attempts] == [*range(1, delivery.attempt_count + 1)]
        if delivery.status is Status.DELIVERED:
            assert attempts[-1].status_code == 200
        for one in attempts:
            assert one.status_code in told.answers[delivery.id, one.number], "never sent"
    for (delivery_id, number), answers in told.answers.items():
        assert len(told.bodies[delivery_id]) <= 1, "another body"
        if (delivery_id, number) in told.hit:
            continue
        assert len(answers) == 1, "sent twice, and nothing had hit the attempt"
        recorded = store.attempts(world.table, delivery_id, limit=100)
        assert [one.status_code for one in recorded if one.number == number] == answers
    assert told.internal == 0 or len(told.faults) >= 5, "put aside, and not for many faults"
    items = world.table.query_all(f"AUDIT#{ACCOUNT}")
    trail = [item["event"] for item in items if item["sk"] != audit_store.HEAD]
    head = audit_store.read_head(world.table, ACCOUNT)
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
            raise AssertionError(f"seed {seed}: {error!r}; {world.told.faults}") from error
        worlds.append(world)
    return worlds


def test_in_three_hundred_runs_nothing_is_lost_and_every_fault_was_tried() -> None:
    worlds = _run(range(300))

    tried = {fault.split(" ", 1)[1] for world in worlds for fault in world.told.faults}
    for name in ("TransactWriteItems", "UpdateItem", "GetItem", "Query", "Send"):
        for how in ("dies before", "dies after", "frozen before", "refused", "answer lost of"):
            assert f"{how} {name}" in tried
    assert tried >= {"record lost", "message lost", "message late", "message twice"}
    ends = {one.status for world in worlds for *_, one in world.expected() if one is not None}
    assert ends == {Status.DELIVERED, Status.DEAD_LETTER}
    assert any(len(answers) > 1 for world in worlds for answers in world.told.answers.values())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_in_ten_thousand_runs_no_delivery_is_lost_and_repeats_keep_their_id(part: int) -> None:
    _run(range(part * RUNS, (part + 1) * RUNS))
