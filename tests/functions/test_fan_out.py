"""The function that reads the stream: which records it turns into deliveries."""

from __future__ import annotations

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws import invocation
from support.aws.api_gateway import Front

pytestmark = pytest.mark.usefixtures("stack", "delivery_queue", "settings_key", "loopback_allowed")


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


def _deliveries(stack: Tables) -> int:
    found = stack.main.client.scan(TableName=stack.main.name)["Items"]
    return sum(item["pk"]["S"].startswith("DELIVERY#") for item in found)


def test_only_records_of_signals_that_are_not_fanned_out_make_deliveries(
    front: Front, stack: Tables, admin: Holder
) -> None:
    hook = front("POST", "/admin/webhooks", key=admin.key, body={"url": "http://127.0.0.1:9000/in"})
    assert hook.status == 201, hook.text
    emitted = front("POST", "/emit", key=admin.key, body={"signal_type": "alert", "content": "hot"})
    signal_id = emitted.json()["data"]["id"].removeprefix("signal:")
    items = stack.main.client.scan(TableName=stack.main.name)["Items"]
    [image] = [item for item in items if item["sk"]["S"] == signal_id and "fanout" in item]
    event = invocation.event("fan_out")
    event["Records"] = event["Records"][:1]
    fan_out = front.function("fan_out")

    changed = {name: value for name, value in image.items() if name != "fanout"}
    event["Records"][0]["dynamodb"]["NewImage"] = changed
    assert fan_out.handler(event, invocation.Context()) == {"batchItemFailures": []}
    assert _deliveries(stack) == 0

    event["Records"][0]["dynamodb"]["NewImage"] = image
    assert fan_out.handler(event, invocation.Context()) == {"batchItemFailures": []}
    assert _deliveries(stack) == 1
