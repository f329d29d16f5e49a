"""The stream's filter for statistics: it drops what counts nothing, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.health_metrics import rules
from support.actors.virtual_receivers import Behaviour
from support.aws import resources
from support.aws.expressions import Item
from support.aws.stream_records import record_of_images
from support.aws.virtual_lambda import matches
from support.worlds.under_fire import FireWorld, under_fire

FILTERS = [
    json.loads(one["Pattern"])
    for one in resources.template()["Resources"]["StatisticsFunction"]["Properties"]["Events"][
        "Stream"
    ]["Properties"]["FilterCriteria"]["Filters"]
]


def deliver(world: FireWorld) -> None:
    """Deliver, retry, park and give up; then everything expires."""
    account = world.account()
    for host in ("ok", "bad", "gone"):
        world.webhook(account, f"{host}.example", retry_schedule=(1, 1))
    world.receivers.behaviours["bad.example"] = Behaviour(status=500)
    world.receivers.behaviours["gone.example"] = Behaviour(status=410)
    world.start_readers()
    world.start_workers()

    def act() -> None:
        world.emit(account)
        world.time.sleep(MINUTE // SECOND)
        world.emit(account)
        world.time.sleep(MINUTE // SECOND)

    world.time.run(act)


@pytest.mark.usefixtures("aws")
def test_the_filter_passes_what_counts_and_of_a_delivery_all_but_the_claims() -> None:
    records: list[dict[str, Any]] = []

    def watch(_: str, old: Item | None, new: Item | None) -> None:
        records.append(record_of_images(len(records) + 1, old, new))

    with under_fire() as world:
        world.dynamo.watchers.append(watch)
        deliver(world)
    expired = [
        record_of_images(len(records) + number, one["dynamodb"]["NewImage"], None)
        for number, one in enumerate(records)
        if "NewImage" in one["dynamodb"]
    ]

    passed = [one for one in records if any(matches(pattern, one) for pattern in FILTERS)]
    dropped = [one for one in records if one not in passed]

    assert [one for one in dropped if rules.change_of(one) is not None] == []
    assert [
        one
        for one in expired
        if rules.change_of(one) is not None and not any(matches(p, one) for p in FILTERS)
    ] == []
    of_deliveries = [
        one for one in dropped if one["dynamodb"]["Keys"]["pk"]["S"].startswith("DELIVERY#")
    ]
    assert len(of_deliveries) == len(world.receivers.arrivals) + 1  # claims: one was parked
