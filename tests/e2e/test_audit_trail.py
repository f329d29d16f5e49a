"""`gatehouse audit`: what the command finds when the table itself was tampered with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from gatehouse.audit import rules
from support.actors.deployed_tenant import Tenant, open_tenant
from support.actors.operator_commands import gatehouse_as
from support.worlds.deployed_stack import Deployed, command


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    tenant = open_tenant(stack)
    for _ in range(3):
        made = tenant.make_key()
        assert tenant.call("DELETE", f"/v1/api-keys/{made['id']}").status_code == 204
    return tenant


def audit(tenant: Tenant, *arguments: str) -> Result:
    return gatehouse_as(tenant.stack, tenant.key, "audit", *arguments)


def head_of(result: Result) -> str:
    return result.stdout.splitlines()[-1].removeprefix("head ")


def stored(tenant: Tenant) -> list[dict[str, Any]]:
    """Read the chain's items from the table, oldest first, the head last."""
    answer = tenant.stack.table("MainTableName").query(
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": f"AUDIT#{tenant.account_id}"},
        ConsistentRead=True,
    )
    items: list[dict[str, Any]] = answer["Items"]
    return items


def tamper(tenant: Tenant, way: str) -> None:
    """Change the chain in the table as somebody with access to it might."""
    table = tenant.stack.table("MainTableName")
    *events, head = stored(tenant)
    assert head["sk"] == "HEAD"
    if way == "edit":
        events[4]["event"]["target"] = "api_key:somebody-else"
        table.put_item(Item=events[4])
    elif way == "delete":
        table.delete_item(Key={name: events[4][name] for name in ("pk", "sk")})
    elif way == "reorder":
        events[4]["sk"], events[5]["sk"] = events[5]["sk"], events[4]["sk"]
        table.put_item(Item=events[4])
        table.put_item(Item=events[5])
    elif way == "truncate":
        last, before = events[-1], events[-2]
        table.delete_item(Key={name: last[name] for name in ("pk", "sk")})
        head |= {
            "seq": before["event"]["seq"],
            "hash": before["event"]["hash"],
            "last_id": before["sk"],
        }
        table.put_item(Item=head)
    else:  # rewrite the last event with a hash that fits
        rewritten = json.loads(json.dumps(events[-1]["event"], default=int))
        rewritten["actor"] = "identity:somebody-else"
        rewritten["hash"] = rules.hash_of(rewritten)
        table.put_item(Item=events[-1] | {"event": rewritten})
        table.put_item(Item=head | {"hash": rewritten["hash"]})


def test_each_way_to_tamper_with_the_table_is_found(tenant: Tenant) -> None:
    head = head_of(audit(tenant, "verify"))
    untouched = stored(tenant)
    table = tenant.stack.table("MainTableName")
    found = {}
    for way in ("edit", "delete", "reorder", "truncate", "rewrite"):
        tamper(tenant, way)
        result = audit(tenant, "verify", "--head", head)
        assert result.exit_code == 1, way
        assert "is broken" in result.stderr
        found[way] = result.stdout
        for item in untouched:
            table.put_item(Item=item)

    expected = {
        "edit": "edited: event 5",
        "delete": "gap: event 6",
        "reorder": "gap: event 6",
        "truncate": "truncated: event 9",
        "rewrite": "truncated: event 9",
    }
    assert {way: text for way, text in found.items() if expected[way] not in text} == {}
    assert audit(tenant, "verify", "--head", head).exit_code == 0


def test_an_untouched_chain_holds_live_and_in_an_export(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    # As a process of its own, as an operator runs it.
    exported = subprocess.run(
        [command("gatehouse"), "audit", "export", str(file)],
        env=os.environ | {"GATEHOUSE_URL": tenant.stack.url, "GATEHOUSE_API_KEY": tenant.key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert exported.returncode == 0, exported.stderr
    head = exported.stdout.splitlines()[-1].removeprefix("head ")

    assert "unanchored" in audit(tenant, "verify").stdout
    live = audit(tenant, "verify", "--head", head)
    assert live.exit_code == 0, live.stderr
    assert "the chain is intact" in live.stdout
    offline = audit(tenant, "verify", "--export", str(file), "--head", head)
    assert offline.exit_code == 0, offline.stderr
    assert offline.stdout == live.stdout
    # Later events do not break a head that was recorded before them.
    tenant.make_key()
    assert audit(tenant, "verify", "--head", head).exit_code == 0


def test_an_export_that_was_cut_or_damaged_is_refused(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    head = head_of(audit(tenant, "export", str(file)))
    lines = file.read_text().splitlines(keepends=True)

    file.write_text("".join(lines[:-1]))
    cut = audit(tenant, "verify", "--export", str(file), "--head", head)
    assert (cut.exit_code, "truncated" in cut.stdout) == (1, True)
    file.write_text("".join([*lines[:2], "{oops\n", *lines[2:]]))
    damaged = audit(tenant, "verify", "--export", str(file))
    assert damaged.exit_code == 1
    assert damaged.stdout == "invalid: line 3: the line is not JSON\n"
    assert "Traceback" not in damaged.stderr
