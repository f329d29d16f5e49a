"""Keys of providers on the deployed stack, as an account writes and its operator reads them."""

from __future__ import annotations

from typing import Any

import httpx

from support.actors.deployed_tenant import Tenant
from support.actors.operator_commands import gatehouse
from support.worlds.deployed_stack import Deployed

OPENAI = "/api/auth/transcription/openai"
ANTHROPIC = "/api/auth/providers/anthropic"
KEY = "made-up-" + "0dd5ec2e7d" * 4


def put(tenant: Tenant, path: str = ANTHROPIC, value: Any = KEY) -> httpx.Response:
    """Store a provider's key."""
    return tenant.call("PUT", path, json={"apiKey": value})


def read(tenant: Tenant, name: str) -> str:
    """Read a key back with the operator's command."""
    done = gatehouse(tenant.stack, "secrets", "get", tenant.account_id, name)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.endswith("\n")
    return done.stdout[:-1]


def encrypted_items(stack: Deployed) -> list[dict[str, Any]]:
    """Read each item of the main table that is encrypted."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs["MainTableName"], ConsistentRead=True)
    )
    return [item for page in pages for item in page["Items"] if "wrapped_key" in item]


def stored_item(tenant: Tenant, sk: str) -> dict[str, Any]:
    """Read one of the account's secrets as it is stored."""
    found = tenant.stack.client("dynamodb").get_item(
        TableName=tenant.stack.outputs["MainTableName"],
        Key={"pk": {"S": f"SECRET#{tenant.account_id}"}, "sk": {"S": sk}},
        ConsistentRead=True,
    )
    item: dict[str, Any] = found["Item"]
    return item
