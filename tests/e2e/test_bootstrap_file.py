"""`gatehouse bootstrap --file` against the deployed stack."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

from e2e.deployed import Deployed

FILE = """
identities:
  - {name: seeded bot, type: agent, claw_type: service, scopes: ["agents:*"]}
rings:
  - {name: inner, description: the few}
invites:
  - {name: seeded colleague}
"""


def bootstrap(
    stack: Deployed, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("gatehouse")), "bootstrap", *arguments],
        env=os.environ
        | {
            "AWS_ENDPOINT_URL": stack.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_is_planned_applied_and_then_changes_nothing(
    stack: Deployed, tmp_path: Path
) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(FILE)

    planned = bootstrap(stack, "--file", str(file), "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.endswith("3 of 3 would change\n")
    done = bootstrap(stack, "--file", str(file))
    assert done.returncode == 0, done.stderr
    assert "add identity seeded bot" in done.stdout
    code = done.stdout.partition(" code ")[2].split()[0]
    came = stack.call("POST", "/invite", json={"code": code, "name": "bo", "type": "human"})
    assert came.status_code == 201, came.text
    again = bootstrap(stack, "--file", str(file))
    assert again.stdout.endswith("0 of 3 changed\n")
    found = stack.call("GET", "/admin/identities", key=stack.admin_key).json()["data"]
    assert [one["claw_type"] for one in found if one["name"] == "seeded bot"] == ["service"]


def test_webhooks_are_seeded_with_a_secret_of_ones_own_or_one_that_is_printed(
    stack: Deployed, tmp_path: Path
) -> None:
    file = tmp_path / "webhooks.yaml"
    file.write_text(
        "webhooks:\n"
        "  - {name: own, url: 'http://127.0.0.1:9000/own', secret_env: SEEDED_HOOK}\n"
        "  - {name: made, url: 'http://127.0.0.1:9000/made', filters: {types: [task]}}\n"
    )
    hook = "whsec_" + base64.b64encode(bytes(range(32))).decode()

    unset = bootstrap(stack, "--file", str(file))
    assert (unset.returncode, unset.stderr.count("\n")) == (1, 1)
    assert "SEEDED_HOOK, which is not set here" in unset.stderr
    done = bootstrap(stack, "--file", str(file), SEEDED_HOOK=hook)
    assert done.returncode == 0, done.stderr
    assert "add webhook own\nadd webhook made secret whsec_" in done.stdout
    assert hook not in done.stdout
    again = bootstrap(stack, "--file", str(file), SEEDED_HOOK=hook)
    assert again.stdout == "keep webhook own\nkeep webhook made\n0 of 2 changed\n"
    listed = stack.call("GET", "/admin/webhooks", key=stack.admin_key).json()["data"]
    seeded = {one["url"]: one["filters"]["types"] for one in listed}
    assert seeded["http://127.0.0.1:9000/own"] == []
    assert seeded["http://127.0.0.1:9000/made"] == ["task"]
    file.write_text(file.read_text().replace("/made", "/made?x#y"))
    refused = bootstrap(stack, "--file", str(file), SEEDED_HOOK=hook)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "line 3: webhooks[1].url" in refused.stderr


def test_a_bad_file_is_refused_in_one_sentence(stack: Deployed, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(FILE + "roles:\n  - {colour: red}\n")

    refused = bootstrap(stack, "--file", str(file))
    assert refused.returncode == 1
    assert "line 9: roles[0].colour is not known" in refused.stderr
    assert refused.stderr.count("\n") == 1
    both = bootstrap(stack, "--recover", "--invite")
    assert (both.returncode, both.stderr.count("\n")) == (1, 1)


def test_a_stack_is_bootstrapped_once(stack: Deployed) -> None:
    for option in ([], ["--invite"]):
        refused = bootstrap(stack, *option)
        assert refused.returncode == 1
        assert "exists already" in refused.stderr
    recovered = bootstrap(stack, "--recover")
    assert recovered.returncode == 0
    key = recovered.stdout.strip()
    me = stack.call("GET", "/v1/whoami", key=key).json()["data"]
    assert me["identity"]["name"] == "recovered admin"
