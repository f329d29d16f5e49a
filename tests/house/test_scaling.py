"""docs/scaling.md has every partition key, with the lanes, units and limits that the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gatehouse.audit import model as audit
from gatehouse.deliveries import partition_rules, rules
from gatehouse.dynamo import keyspace
from gatehouse.health_metrics import store as statistics
from gatehouse.keys import model as keys
from gatehouse.signals import store as signals
from gatehouse.webhooks import model as webhooks
from house.sources import ROOT
from support.aws import resources

PAGE = (ROOT / "docs" / "scaling.md").read_text()
TEMPLATE = resources.template()
A_SECOND = {"write": 1_000, "read": 3_000}  # units of one partition
# Every other partition key is one partition.
LANES = {
    "SIGNAL": signals.LANES,
    "FANOUT": signals.SHARDS,
    "DELIVERY": partition_rules.LANES,
    "DUE": rules.SHARDS,
    "LISTED": partition_rules.LANES,
    "STATS": statistics.LANES,
}


def _section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _event(function: str) -> dict[str, Any]:
    (event,) = TEMPLATE["Resources"][function]["Properties"]["Events"].values()
    found: dict[str, Any] = event["Properties"]
    return found


def _most_of_public_routes() -> int:
    settings = TEMPLATE["Resources"]["Api"]["Properties"]["MethodSettings"]
    return max(one["ThrottlingRateLimit"] for one in settings)


def test_the_page_has_every_partition_key() -> None:
    section = _section("Every partition")
    columns = " ".join(re.findall(r"^\| (.*?) \|", section, re.MULTILINE))

    named = set(re.findall(r"`([A-Z]+)#?`", columns))
    assert named == {kind.name for kind in keyspace.ALL}


def _wrong_rows() -> Iterator[str]:
    rows = re.findall(
        r"^\| `([A-Z]+)#` \| .+? \| .+? \| (\d+) \| (\d+) (read|write) \| ([\d,]+) \|$",
        _section("Every partition"),
        re.MULTILINE,
    )
    assert len(rows) > 8
    for kind, partitions, units, does, most in rows:
        if int(partitions) != LANES.get(kind, 1):
            yield f"{kind}: the code has {LANES.get(kind, 1)} partitions"
        limit = int(partitions) * A_SECOND[does] // int(units)
        if most != f"{limit:,}":
            yield f"{kind}: {partitions} partitions and {units} units are {limit:,} a second"


def test_limits_of_hot_partitions_follow_from_lanes_and_units() -> None:
    assert list(_wrong_rows()) == []


def test_numbers_of_the_page_are_those_of_the_code_and_the_template() -> None:
    parameters = {name: one.get("Default") for name, one in TEMPLATE["Parameters"].items()}
    fast, slow = parameters["FastLaneConcurrency"], parameters["SlowLaneConcurrency"]
    stream = _event("FanOutFunction")
    many, few = _event("SlowDeliveryWorkerFunction"), _event("DeliveryWorkerFunction")
    sockets = TEMPLATE["Resources"]["SocketApi"]["Properties"]["DefaultRouteSettings"]
    assert stream["ParallelizationFactor"] == 10
    hanging = slow * many["BatchSize"] // 110 * 10
    said = {
        f"`FastLaneConcurrency` {fast}, `SlowLaneConcurrency` {slow}",
        f"`FastLaneConcurrency` + `SlowLaneConcurrency`, {fast + slow} unless",
        f"ten batches of a shard at once, of up to {stream['BatchSize']} signals each",
        f"{fast} environments with ten deliveries each in 0.1 s: {fast * few['BatchSize'] * 10:,}",
        f"{slow} with {many['BatchSize']} each in 11 s: {hanging} attempts a second",
        f"{keys.MOST_PER_MINUTE:,} requests a minute",
        f"at most {audit.MOST_WRITES} in a minute",
        f"{webhooks.MOST_WEBHOOKS} webhooks, the most of an account",
        f"5 to {_most_of_public_routes()} requests a second",
        f"opening log sockets {sockets['ThrottlingRateLimit']} a second",
        f"`IndexUnits`, {parameters['IndexUnits']} a second",
        f"all {rules.SHARDS} shards due",
    }

    assert {one for one in said if one not in PAGE} == set()


def test_what_to_raise_is_enough_for_the_traffic_of_its_row() -> None:
    rows = re.findall(
        r"^\| ([\d,]+) requests, ([\d,]+) signals a second"
        r" \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|",
        PAGE,
        re.MULTILINE,
    )
    numbers = [[int(cell.replace(",", "")) for cell in row] for row in rows]
    slow = TEMPLATE["Parameters"]["SlowLaneConcurrency"]["Default"]
    few = []
    for requests, sent, environments, keys_units, main_units, fast in numbers:
        shards = max(4, main_units // 1_000)
        enough = (
            environments >= requests * 2 / 10 + shards * 10 + fast + slow,
            (keys_units or 4_000) >= requests * 1.4,
            (main_units or 4_000) >= sent * 6 * 1.25,
            fast * 10 / 0.1 >= sent,
            shards * 400 >= sent,
        )
        if not all(enough):
            few.append((requests, enough))

    assert len(numbers) == 4
    assert few == []


def test_every_row_of_measured_names_a_test_that_exists() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", _section("Measured")))

    assert len(named) > 4
    assert {one for one in named if not (ROOT / "tests" / "rooms" / one).is_file()} == set()


def test_asserted_rates_of_the_fan_out_are_those_of_its_test() -> None:
    source = (ROOT / "tests" / "rooms" / "test_deliveries_rates.py").read_text()
    rows = re.findall(
        r"^\| fan-out of one shard, (\w+) webhooks? \| at least (\d+) signals",
        PAGE,
        re.MULTILINE,
    )
    budgets = re.findall(r"\((\d+), [\d_]+, (\d+)\)", source)

    assert len(budgets) == 3
    assert [("1" if one == "one" else one, rate) for one, rate in rows] == budgets
