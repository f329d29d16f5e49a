"""The function `statistics`, with events as AWS and the local engine send them."""

from __future__ import annotations

import copy
import io
import json
from types import ModuleType
from typing import Any

import pytest

from gatehouse.core import clock
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.table import Tables
from gatehouse.health_metrics import actions as stats
from gatehouse.health_metrics.model import HealthMetrics
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error
from support.aws.stream_records import Stream, signal

ACCOUNT = "0190a3c4-7d52-7b1e-9c1e-000000000001"
AT = 1_795_253_400 * clock.SECOND
ENGINE_KEYS = {"Records"}


@pytest.fixture
def counter(front: Front, stack: Tables) -> ModuleType:
    del stack
    return front.function("statistics")


def call(counter: ModuleType, event: dict[str, Any]) -> Any:
    return counter.handler(event, invocation.Context())


def fresh(shard: str, account: str) -> dict[str, Any]:
    """Return the event of AWS for another shard and another account."""
    text = json.dumps(invocation.event("statistics")).replace(ACCOUNT, account)
    return {**json.loads(text), "shardId": shard}


def health(stack: Tables, account: str) -> HealthMetrics:
    return stats.read(stack.main, account, now=AT + clock.MINUTE)


def test_a_batch_of_aws_is_counted_once(
    counter: ModuleType, stack: Tables, logs: io.StringIO
) -> None:
    event = fresh("shard-once", "once")
    assert call(counter, event) == {"state": {}}
    assert call(counter, copy.deepcopy(event)) == {"state": {}}

    metrics = health(stack, "once")
    assert metrics.totals == {"pending": 0, "delivered": 1, "dead_letter": 0, "acked": 0}
    assert metrics.volume == 1
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [(one["shard"], one["records"], one["transactions"]) for one in lines] == [
        ("shard-once", 4, 1),
        ("shard-once", 4, 0),
    ]
    assert "review the draft" not in logs.getvalue()


def test_the_window_has_no_state_and_its_last_call_does_nothing(
    counter: ModuleType, stack: Tables, line: Wire
) -> None:
    del stack
    line.clear()
    last = {
        **invocation.event("statistics"),
        "Records": [],
        "state": {},
        "isFinalInvokeForWindow": True,
    }
    assert call(counter, last) == {"state": {}}
    assert line.calls == []


def test_on_the_local_engine_the_streams_label_names_the_shard(
    counter: ModuleType, stack: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_STREAM_SHARDS", "one")
    event = {"Records": fresh("", "engine")["Records"]}
    assert set(event) == ENGINE_KEYS
    for record in event["Records"]:  # the engine's format: milliseconds and a counter
        number = int(record["dynamodb"]["SequenceNumber"]) % 10**10
        record["dynamodb"]["SequenceNumber"] = f"{AT // 1_000:020d}{number:010d}"
    for batch in (event["Records"], event["Records"], event["Records"][1:]):
        assert call(counter, {"Records": batch}) == {"state": {}}
    assert health(stack, "engine").volume == 1
    assert health(stack, "engine").totals["delivered"] == 1

    label = event["Records"][0]["eventSourceARN"].rpartition("/")[2]
    assert stack.main.get({"pk": f"STATS#POSITION#{label}", "sk": "POSITION"}) is not None


def test_a_batch_without_a_shard_is_refused_on_aws(counter: ModuleType, stack: Tables) -> None:
    """With one position for all shards, records of one would be skipped because of another."""
    with pytest.raises(KeyError):
        call(counter, {"Records": fresh("", "refused")["Records"]})
    assert health(stack, "refused").volume == 0


def test_a_batch_fails_while_the_table_is_unavailable_and_is_counted_later(
    counter: ModuleType, stack: Tables, line: Wire, sleeps: list[float]
) -> None:
    event = fresh("shard-away", "away")
    line.before = lambda _, called: (
        error("ThrottlingException") if called == "TransactWriteItems" else None
    )
    with pytest.raises(Unavailable):
        call(counter, event)
    line.clear()
    call(counter, event)
    assert health(stack, "away").volume == 1
    assert sleeps


def test_a_malformed_record_fails_only_its_half_of_the_batch(
    counter: ModuleType, stack: Tables
) -> None:
    stream = Stream()
    for number in range(4):
        stream.put(signal("half", f"s{number}", at=AT))
    del stream.records[3]["dynamodb"]["NewImage"]["created_at"]
    event = {**invocation.event("statistics"), "shardId": "shard-half", "Records": stream.records}
    with pytest.raises(KeyError):
        call(counter, event)
    assert health(stack, "half").volume == 0
    for batch in (stream.records[:2], stream.records[2:3]):  # as Lambda splits it
        call(counter, {**event, "Records": batch})
    with pytest.raises(KeyError):
        call(counter, {**event, "Records": stream.records[3:]})
    assert health(stack, "half").volume == 3
