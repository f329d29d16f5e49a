"""Services for the end-to-end tests: the operator, and functions deployed by a test."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

from e2e.deployed import Deployed
from e2e.people import Tenant

WITHIN = 40.0
# The environment that answers names itself, so that a new one is told from the old.
CODE = """
import os, uuid

ENVIRONMENT = str(uuid.uuid4())


def handler(event, context):
    if event.get("fail"):
        raise ValueError("as asked")
    return {"environment": ENVIRONMENT, "mode": os.environ["MODE"]}
"""


def until(found: Callable[[], bool], why: str) -> None:
    """Wait for something to come true."""
    ends_at = time.monotonic() + WITHIN
    while not found():
        assert time.monotonic() < ends_at, why
        time.sleep(0.3)


def the_operator(stack: Deployed) -> Tenant:
    """Name the operator's first admin, whose key the stack was bootstrapped with."""
    me = stack.call("GET", "/v1/whoami", key=stack.admin_key).json()["data"]
    return Tenant(
        stack, me["account"]["id"], me["identity"]["id"], me["key"]["id"], stack.admin_key
    )


class Function:
    """A function deployed by a test, found by its tag. `code` is another handler's."""

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
        answer = self.client.invoke(
            FunctionName=self.name, Qualifier=qualifier, Payload=json.dumps(event)
        )
        return json.loads(answer["Payload"].read())

    def variables(self) -> dict[str, str]:
        said = self.client.get_function_configuration(FunctionName=self.name)
        return dict(said["Environment"]["Variables"])


def listed(tenant: Tenant) -> dict[str, dict[str, Any]]:
    answer = tenant.call("GET", "/api/services/list")
    assert answer.status_code == 200, answer.text
    return {view["name"]: view for view in answer.json()}
