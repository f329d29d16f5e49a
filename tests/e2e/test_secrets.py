"""No secret is written anywhere: the test searches each log and table for those it made."""

from __future__ import annotations

from typing import Any

import pytest

from support.actors.deployed_tenant import Tenant, open_tenant
from support.actors.operator_commands import gatehouse
from support.worlds.deployed_stack import Deployed

PROVIDER = "/api/auth/providers/anthropic"
PROVIDERS_KEY = "made-up-" + "5ec2e7d00d" * 4


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def test_a_secret_is_only_in_the_answer_that_made_it(stack: Deployed, tenant: Tenant) -> None:
    first = tenant.make_key()
    rotated = tenant.call("POST", f"/v1/api-keys/{first['id']}/rotate").json()["data"]
    services = tenant.call("POST", "/api/auth/keys", json={"name": "x"}).json()
    admin = tenant.call("POST", "/admin/api-keys", json={"owner": tenant.identity_id})
    made = admin.json()["data"]["api_key"]
    keys = [tenant.key, first["key"], rotated["key"], services["key"], made]
    # Provoke errors that might repeat what they were sent.
    answers = [_put_a_providers_key(tenant)]
    for key in keys:
        stack.call("GET", f"/v1/api-keys/{key}", key=tenant.key)
        stack.call("DELETE", f"/api/auth/keys/{key}", key=tenant.key)
        stack.call("POST", "/v1/api-keys", key=tenant.key, json={"name": {"x": key}})
        stack.call("POST", "/v1/keys/verify", key=tenant.key, json={"key": key, "scope": "no"})
    answers += [
        tenant.call("GET", where).text
        for where in (
            "/v1/api-keys", "/api/auth/keys?status=all", "/admin/api-keys", "/admin/audit",
            "/v1/whoami", PROVIDER,
        )
    ]  # fmt: skip

    written = {
        "answers": "\n".join(answers),
        "keys table": _table(stack, "KeysTableName"),
        "main table": _table(stack, "MainTableName"),
        "logs": _logs(stack),
    }
    # Ids are not secret and are everywhere: the search finds what is there.
    assert first["id"] in written["main table"]
    assert first["id"] in written["keys table"]
    assert tenant.key_id in written["logs"]
    secrets = [*keys, *(key.split("_")[1][8:64] for key in keys)]
    for secret in (*secrets, PROVIDERS_KEY, PROVIDERS_KEY[8:40]):
        for where, text in written.items():
            assert secret not in text, where


def _put_a_providers_key(tenant: Tenant) -> str:
    """Store a provider's key, send it in each wrong way too, and return the answers."""
    answers = [
        tenant.call("PUT", PROVIDER, json={"apiKey": PROVIDERS_KEY}),
        tenant.call("PUT", PROVIDER, content=f'{{"apiKey": "{PROVIDERS_KEY}"'),
        tenant.call("PUT", PROVIDER, json={"apiKey": [PROVIDERS_KEY]}),
        tenant.call("PUT", PROVIDER, json={"apiKey": f"{PROVIDERS_KEY}\n"}),
        tenant.call("PUT", f"/api/auth/providers/{PROVIDERS_KEY}X", json={"apiKey": "x"}),
    ]
    assert [answer.status_code for answer in answers] == [204, 400, 400, 400, 400]
    read = gatehouse(tenant.stack, "secrets", "get", tenant.account_id, "provider/anthropic")
    assert read.stdout == f"{PROVIDERS_KEY}\n"
    return "\n".join(answer.text for answer in answers)


def _table(stack: Deployed, output: str) -> str:
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs[output], ConsistentRead=True)
    )
    return "\n".join(str(page["Items"]) for page in pages)


def _logs(stack: Deployed) -> str:
    client: Any = stack.client("logs")
    lines = []
    for group in client.describe_log_groups()["logGroups"]:
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"]
        )
        lines += [event["message"] for page in pages for event in page["events"]]
    return "\n".join(lines)
