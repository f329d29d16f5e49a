"""`gatehouse audit`: what the command finds when the table itself was tampered with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, open_tenant


@pytest.fixture
def tenant(stack: Deployed) -> Tenant:
    tenant = open_tenant(stack)
    for _ in range(3):
        made = tenant.make_key()
        assert tenant.call("DELETE", f"/v1/api-keys/{made['id']}").status_code == 204
    return tenant


def run(tenant: Tenant, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("gatehouse")), "audit", *arguments],
        env=os.environ | {"GATEHOUSE_URL": tenant.stack.url, "GATEHOUSE_API_KEY": tenant.key},
        capture_output=True,
        text=True,
        check=False,
    )


def stored(tenant: Tenant) -> list[dict[str, Any]]:
    """Read the chain's items as they lie in the table, oldest first, the head last."""
    answer = tenant.stack.table("MainTableName").query(
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": f"AUDIT#{tenant.account_id}"},
        ConsistentRead=True,
    )
    items: list[dict[str, Any]] = answer["Items"]
    return items


def test_an_untouched_chain_holds_live_and_in_an_export(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    exported = run(tenant, "export", str(file))
    assert exported.returncode == 0, exported.stderr
    head = exported.stdout.splitlines()[-1].removeprefix("head ")

    live = run(tenant, "verify")
    assert live.returncode == 0, live.stderr
    assert "the chain is intact" in live.stdout
    offline = run(tenant, "verify", "--export", str(file), "--head", head)
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == live.stdout
    # Later events do not break a head that was kept before them.
    tenant.make_key()
    assert run(tenant, "verify", "--head", head).returncode == 0


@pytest.mark.parametrize("way", ["edit", "delete", "reorder", "truncate", "rewrite"])
def test_every_way_of_breaking_the_table_is_found(tenant: Tenant, way: str) -> None:
    table = tenant.stack.table("MainTableName")
    kept = run(tenant, "verify").stdout.splitlines()[-1].removeprefix("head ")
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
        last = events[-1]
        table.delete_item(Key={name: last[name] for name in ("pk", "sk")})
        before = events[-2]
        head |= {
            "seq": before["event"]["seq"],
            "hash": before["event"]["hash"],
            "last_id": before["sk"],
        }
        table.put_item(Item=head)
    else:
        from gatehouse.audit import rules  # noqa: PLC0415 - what an insider would use

        rewritten = json.loads(json.dumps(events[-1]["event"], default=int))
        rewritten["actor"] = "identity:somebody-else"
        rewritten["hash"] = rules.hash_of(rewritten)
        table.put_item(Item=events[-1] | {"event": rewritten})
        table.put_item(Item=head | {"hash": rewritten["hash"]})

    found = run(tenant, "verify", "--head", kept)
    assert found.returncode == 1
    assert "is broken" in found.stderr
    expected = {
        "edit": "edited: event 5",
        "delete": "gap: event 6",
        "reorder": "gap: event 6",
        "truncate": "truncated: event 9",
        "rewrite": "truncated: event 9",
    }
    assert expected[way] in found.stdout


def test_an_export_that_was_cut_or_garbled_is_named(tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    head = run(tenant, "export", str(file)).stdout.splitlines()[-1].removeprefix("head ")
    lines = file.read_text().splitlines(keepends=True)

    file.write_text("".join(lines[:-1]))
    cut = run(tenant, "verify", "--export", str(file), "--head", head)
    assert (cut.returncode, "truncated" in cut.stdout) == (1, True)
    file.write_text("".join([*lines[:2], "{oops\n", *lines[2:]]))
    garbled = run(tenant, "verify", "--export", str(file))
    assert garbled.returncode == 1
    assert "line 3" in garbled.stderr
    assert "Traceback" not in garbled.stderr
