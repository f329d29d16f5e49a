"""Nothing secret is written anywhere: every key made here is looked for in everything."""

from typing import Any

from e2e.deployed import Deployed
from e2e.people import open_tenant


def test_a_keys_text_is_nowhere_but_in_the_answer_that_made_it(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    first = tenant.make_key()
    path = f"/v1/api-keys/{first['id']}"
    rotated = tenant.call("POST", f"{path}/rotate").json()["data"]
    services = tenant.call("POST", "/api/auth/keys", json={"name": "x"}).json()
    admin = tenant.call("POST", "/admin/api-keys", json={"owner": tenant.identity_id}).json()[
        "data"
    ]
    planted = [tenant.key, first["key"], rotated["key"], services["key"], admin["api_key"]]
    # Provoke errors that might repeat what they were given.
    for secret in planted:
        stack.call("GET", f"/v1/api-keys/{secret}", key=tenant.key)
        stack.call("DELETE", f"/api/auth/keys/{secret}", key=tenant.key)
        stack.call("POST", "/v1/api-keys", key=tenant.key, json={"name": {"x": secret}})
        stack.call("POST", "/v1/keys/verify", key=tenant.key, json={"key": secret, "scope": "no"})
    answers = [
        tenant.call("GET", where).text
        for where in (
            "/v1/api-keys", "/api/auth/keys?status=all", "/admin/api-keys", "/admin/audit",
            "/v1/whoami",
        )
    ]  # fmt: skip

    written = {
        "answers": "\n".join(answers),
        "keys table": _table(stack, "KeysTableName"),
        "main table": _table(stack, "MainTableName"),
        "logs": _logs(stack),
    }
    # The search would find what is there: ids are not secret and are everywhere.
    assert first["id"] in written["main table"]
    assert first["id"] in written["keys table"]
    assert tenant.key_id in written["logs"]
    for secret in planted:
        for where, text in written.items():
            assert secret not in text, where
            # Not even the part that carries the randomness.
            assert secret.split("_")[1][8:64] not in text, where


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
