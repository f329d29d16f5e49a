"""GET /admin/health-metrics: the counts of the caller's account, with admin:manage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from gatehouse.health_metrics import actions as stats
from gatehouse.health_metrics.store import LANES
from support.actors.people import Holder, People
from support.aws import resources
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error
from support.aws.stream_records import Stream, delivery, signal
from support.worlds.held_clock import HeldClock

PATH = "/admin/health-metrics"
FIELDS = {
    *("db_latency_ms", "uptime_seconds", "delivery_stats", "dead_letter_count"),
    *("embedding_queue_depth", "signal_volume_24h"),
}


@pytest.fixture
def queue(aws: pytest.MonkeyPatch, front: Front) -> Iterator[str]:
    """Create the embedding queue and configure the functions with it."""
    clients.sqs.cache_clear()
    url: str = boto3.client("sqs").create_queue(QueueName="embedding")["QueueUrl"]
    aws.setenv("GATEHOUSE_EMBEDDING_QUEUE", url)
    del front
    yield url
    aws.delenv("GATEHOUSE_EMBEDDING_QUEUE")
    clients.sqs.cache_clear()


def busy(stack: Tables, admin: Holder, *, now: int) -> None:
    """Count some traffic of an account."""
    stream = Stream()
    for number in range(3):
        stream.put(signal(admin.account_id, f"s{number}", at=now))
    stream.change(signal(admin.account_id, "s0", at=now), task_status="acked")
    states = ("pending", "retrying", "delivered", "dead_letter", "dead_letter")
    for number, state in enumerate(states):
        stream.put(delivery(admin.account_id, f"{admin.account_id}-{number}", state))
    stats.count(stack.main, f"shard-{admin.account_id}", stream.records, now=now)


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_new_account_has_zero_counts(front: Front, admin: Holder, shape: str) -> None:
    front.shape = shape
    answer = front("GET", PATH, key=admin.key)
    front.shape = "aws"

    assert answer.status == 200
    data = answer.json()["data"]
    assert set(data) == FIELDS
    assert data["delivery_stats"] == {"pending": 0, "delivered": 0, "acked": 0, "dead_letter": 0}
    assert (data["dead_letter_count"], data["signal_volume_24h"]) == (0, 0)
    assert data["embedding_queue_depth"] == 0


def test_the_page_shows_the_fields_of_the_response(front: Front, admin: Holder) -> None:
    page = (resources.ROOT / "docs" / "health.md").read_text()
    [example] = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    documented, returned = json.loads(example), front("GET", PATH, key=admin.key).json()

    assert _shape(documented) == _shape(returned)


def _shape(value: Any) -> Any:
    return {name: _shape(one) for name, one in value.items()} if isinstance(value, dict) else None


def test_an_account_sees_only_its_own_counts(
    front: Front, people: People, stack: Tables, admin: Holder, held: HeldClock
) -> None:
    busy(stack, admin, now=held.at)
    stranger = people.tenant()

    data = front("GET", PATH, key=admin.key).json()["data"]
    assert data["delivery_stats"] == {"pending": 2, "delivered": 1, "acked": 1, "dead_letter": 2}
    assert (data["dead_letter_count"], data["signal_volume_24h"]) == (2, 3)
    theirs = front("GET", PATH, key=stranger.key).json()["data"]
    assert set(theirs["delivery_stats"].values()) == {0}
    assert theirs["signal_volume_24h"] == 0


def test_the_volume_drops_after_a_day_and_totals_stay(
    front: Front, stack: Tables, admin: Holder, held: HeldClock
) -> None:
    busy(stack, admin, now=held.at)
    held.advance(seconds=86_400 - 60)
    assert front("GET", PATH, key=admin.key).json()["data"]["signal_volume_24h"] == 3
    held.advance(seconds=60)
    data = front("GET", PATH, key=admin.key).json()["data"]
    assert data["signal_volume_24h"] == 0
    assert data["delivery_stats"]["pending"] == 2


def test_the_latency_is_that_of_a_consistent_read_of_every_lane(
    front: Front, stack: Tables, admin: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    ticks = iter([10.0, 10.012_345_6])
    monkeypatch.setattr(stats, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    events = stack.main.client.meta.events

    def note(params: Any, **_: Any) -> None:
        asked.append(params)

    events.register("provide-client-params.dynamodb.Query", note)
    try:
        data = front("GET", PATH, key=admin.key).json()["data"]
    finally:
        events.unregister("provide-client-params.dynamodb.Query", note)
    assert [one["ConsistentRead"] for one in asked] == [True] * LANES
    assert data["db_latency_ms"] == 12.35


def test_uptime_counts_from_the_deployment(
    front: Front, admin: Holder, held: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_DEPLOYED_AT", held.text(seconds=-3_600.5))
    assert front("GET", PATH, key=admin.key).json()["data"]["uptime_seconds"] == 3_600
    monkeypatch.setenv("GATEHOUSE_DEPLOYED_AT", held.text(seconds=5))
    assert front("GET", PATH, key=admin.key).json()["data"]["uptime_seconds"] == 0


def test_the_queues_depth_includes_messages_in_progress(
    front: Front, admin: Holder, queue: str
) -> None:
    client = boto3.client("sqs")
    for number in range(3):
        client.send_message(QueueUrl=queue, MessageBody=str(number))
    client.receive_message(QueueUrl=queue, MaxNumberOfMessages=1)

    assert front("GET", PATH, key=admin.key).json()["data"]["embedding_queue_depth"] == 3
    config = front("GET", "/admin/config", key=admin.key).json()["data"]
    assert config["embedding_provider"] == "queue"


def test_without_an_embedding_queue_the_depth_is_0_without_a_call(
    front: Front, admin: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "sqs", lambda: pytest.fail("asked for a queue"))
    assert front("GET", PATH, key=admin.key).json()["data"]["embedding_queue_depth"] == 0
    config = front("GET", "/admin/config", key=admin.key).json()["data"]
    assert config["embedding_provider"] == "none"


def test_a_missing_queue_is_503(front: Front, admin: Holder, queue: str) -> None:
    boto3.client("sqs").delete_queue(QueueUrl=queue)
    answer = front("GET", PATH, key=admin.key)
    assert (answer.status, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")


def test_an_unavailable_table_is_503(front: Front, admin: Holder, line: Wire) -> None:
    line.before = lambda _, called: error("ThrottlingException") if called == "Query" else None
    assert front("GET", PATH, key=admin.key).status == 503


def test_the_route_needs_admin_manage(front: Front, people: People, admin: Holder) -> None:
    employee = people.employee(admin)
    refused = front("GET", PATH, key=employee.key)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "POLICY_DENIED")
    manager = people.member(admin, is_admin=True)
    narrow = people.key_for(admin, manager, scopes=["services:read"])
    assert front("GET", PATH, key=narrow.key).status == 403
    assert front("GET", PATH).status == 401
