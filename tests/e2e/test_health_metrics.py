"""Health metrics on the deployed stack: each account's counts, made from the table's stream."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.deliveries.model import DeliveryStatus
from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.worlds.deployed_stack import Deployed

COUNTED_WITHIN = 60.0
NONE = {"pending": 0, "delivered": 0, "acked": 0, "dead_letter": 0}


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def metrics(tenant: Tenant) -> dict[str, Any]:
    answer = tenant.call("GET", "/admin/health-metrics")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def wait_for(tenant: Tenant, part: Callable[[dict[str, Any]], Any], expected: Any) -> None:
    deadline = time.monotonic() + COUNTED_WITHIN
    while (found := part(metrics(tenant))) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def put_delivery(tenant: Tenant, status: DeliveryStatus) -> dict[str, str]:
    """Write a delivery that no worker will attempt."""
    key = {"pk": "DELIVERY#ea69dd4a#7", "sk": str(uuid.uuid4())}
    tenant.stack.table("MainTableName").put_item(
        Item={
            **key,
            "account_id": tenant.account_id,
            "status": status.value,
            "lease_until": 0,  # nobody attempts it now
        }
    )
    return key


def emit(tenant: Tenant, *, signal_type: str = "task") -> str:
    """Emit a signal and return its id."""
    body = {"signal_type": signal_type, "content": "for the counters"}
    made = tenant.call("POST", "/emit", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["id"])


def ack(tenant: Tenant, signal_id: str) -> None:
    """Claim a task and acknowledge it."""
    for path in ("/claim", "/ack"):
        done = tenant.call("POST", path, json={"signal_id": signal_id})
        assert done.status_code == 200, done.text


def key_of(tenant: Tenant, signal_id: str) -> dict[str, str]:
    """Return the key of a signal's item."""
    bare = signal_id.removeprefix("signal:")
    return {"pk": f"SIGNAL#{tenant.account_id}#{int(bare[-1], 16)}", "sk": bare}


def test_a_new_account_counts_nothing_of_another_account(stack: Deployed, tenant: Tenant) -> None:
    emit(tenant)
    wait_for(tenant, lambda data: data["signal_volume_24h"], 1)
    found = metrics(open_tenant(stack))

    assert found["delivery_stats"] == NONE
    assert (found["dead_letter_count"], found["signal_volume_24h"]) == (0, 0)
    assert found["embedding_queue_depth"] == 0
    assert found["uptime_seconds"] >= 0
    assert found["db_latency_ms"] > 0


def test_the_counts_follow_the_stored_items(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    table = stack.table("MainTableName")
    kept = {status: put_delivery(tenant, status) for status in DeliveryStatus}
    signals = [emit(tenant) for _ in range(4)] + [emit(tenant, signal_type="pulse")]
    wait_for(tenant, lambda data: data["signal_volume_24h"], 5)
    wait_for(
        tenant,
        lambda data: data["delivery_stats"],
        {"pending": 2, "delivered": 1, "acked": 0, "dead_letter": 1},
    )

    ack(tenant, signals[0])
    ack(tenant, signals[1])
    table.update_item(
        Key=kept[DeliveryStatus.RETRYING],
        UpdateExpression="SET #status = :dead",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":dead": "dead_letter"},
    )
    table.delete_item(Key=kept[DeliveryStatus.DELIVERED])
    table.delete_item(Key=key_of(tenant, signals[1]))
    wait_for(
        tenant,
        lambda data: data["delivery_stats"],
        {"pending": 1, "delivered": 0, "acked": 1, "dead_letter": 2},
    )
    found = metrics(tenant)
    assert (found["dead_letter_count"], found["signal_volume_24h"]) == (2, 5)


def test_health_metrics_need_a_manager(stack: Deployed, tenant: Tenant) -> None:
    refused = stack.call("GET", "/admin/health-metrics", key=add_member(tenant))

    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "POLICY_DENIED"
    assert stack.call("GET", "/admin/health-metrics").status_code == 401


def test_without_a_queue_the_embedding_provider_is_none(tenant: Tenant) -> None:
    config = tenant.call("GET", "/admin/config").json()["data"]

    assert config["embedding_provider"] == "none"
    assert "EmbeddingQueueUrl" not in tenant.stack.outputs
