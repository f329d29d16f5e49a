"""Functions that an end-to-end test deploys beside the stack, found as services by their tag."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from support.actors.deployed_tenant import Tenant
from support.worlds.deployed_stack import Deployed

WITHIN = 60.0
# Each execution environment returns an id of its own, so that a test can tell two apart.
CODE = """
import os, uuid

ENVIRONMENT = str(uuid.uuid4())


def handler(event, context):
    if event.get("fail"):
        raise ValueError("as asked")
    return {"environment": ENVIRONMENT, "mode": os.environ["MODE"]}
"""


def until(condition: Callable[[], bool], why: str, *, every: float = 0.3) -> None:
    """Wait until the condition is true; ask every so many seconds."""
    ends_at = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < ends_at, why
        time.sleep(every)


class Function:
    """A function deployed by a test; `code` replaces the handler above."""

    def __init__(self, stack: Deployed, *, code: str = CODE, **tags: str) -> None:
        self.service = f"orders-{uuid.uuid4().hex[:8]}"
        self.name = f"fn-{self.service}"
        self.client = stack.client("lambda")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("handler.py", code)
        ours = self.client.get_function_configuration(
            FunctionName=stack.outputs["BootstrapFunctionName"]
        )
        self.client.create_function(
            FunctionName=self.name,
            Runtime=ours["Runtime"],
            Role=ours["Role"],
            Handler="handler.handler",
            Code={"ZipFile": packed.getvalue()},
            Environment={"Variables": {"MODE": "fast"}},
            Tags={"gatehouse:service": self.service, **tags},
        )
        self.client.get_waiter("function_active_v2").wait(FunctionName=self.name)

    def invoke(self, *, qualifier: str = "$LATEST", **event: Any) -> Any:
        """Invoke it and return its answer."""
        answer = self.client.invoke(
            FunctionName=self.name, Qualifier=qualifier, Payload=json.dumps(event)
        )
        return json.loads(answer["Payload"].read())

    def variables(self) -> dict[str, str]:
        """Return its environment variables as they are configured."""
        configured = self.client.get_function_configuration(FunctionName=self.name)
        return dict(configured["Environment"]["Variables"])

    def delete(self) -> None:
        """Delete it."""
        self.client.delete_function(FunctionName=self.name)


def listed(tenant: Tenant) -> dict[str, dict[str, Any]]:
    """List an account's services by name."""
    answer = tenant.call("GET", "/api/services/list")
    assert answer.status_code == 200, answer.text
    return {view["name"]: view for view in answer.json()}


def age_last_search(operator: Tenant) -> None:
    """Make the last search for tagged services look old, so that the next list searches again.

    A search is used for 30 seconds. The result stays, for a list whose own search fails.
    """
    table = operator.stack.table("MainTableName")
    key = {"pk": f"SERVICE#{operator.account_id}#KEPT", "sk": "FOUND"}
    item = table.get_item(Key=key, ConsistentRead=True).get("Item", {})
    if "body" not in item:
        return
    body = json.loads(zlib.decompress(bytes(item["body"]))) | {"at": 1}
    with suppress(table.meta.client.exceptions.ConditionalCheckFailedException):
        table.update_item(
            Key=key,
            UpdateExpression="SET body = :body",
            ConditionExpression="version = :version",
            ExpressionAttributeValues={
                ":body": zlib.compress(json.dumps(body).encode()),
                ":version": item["version"],
            },
        )


def wait_until_listed(operator: Tenant, *services: str) -> None:
    """Wait until the operator's list shows these services, found by their tags."""

    def found() -> bool:
        age_last_search(operator)
        return set(services) <= set(listed(operator))

    until(found, "not found by the tag", every=2.0)
