"""`gatehouse bootstrap` against the deployed stack, with and without a file."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

from support.actors.operator_commands import LOCAL_STACK, environment, gatehouse
from support.worlds.deployed_stack import Deployed, command

FILE = """
identities:
  - {name: seeded bot, type: agent, claw_type: service, scopes: ["agents:*"]}
rings:
  - {name: inner, description: the few}
invites:
  - {name: seeded colleague}
"""


def test_a_file_is_planned_then_applied_and_then_changes_nothing(
    stack: Deployed, tmp_path: Path
) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(FILE)

    planned = gatehouse(stack, "bootstrap", "--file", str(file), "--dry-run")
    assert planned.exit_code == 0, planned.stderr
    assert planned.stdout.endswith("3 of 3 would change\n")
    # As a process of its own, as an operator runs it.
    done = subprocess.run(
        [command("gatehouse"), "bootstrap", "--stack", LOCAL_STACK, "--file", str(file)],
        env=os.environ | environment(stack),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "add identity seeded bot" in done.stdout
    code = done.stdout.partition(" code ")[2].split()[0]
    body = {"code": code, "name": "bo", "type": "human"}
    joined = stack.call_throttled("POST", "/invite", json=body)
    assert joined.status_code == 201, joined.text
    again = gatehouse(stack, "bootstrap", "--file", str(file))
    assert again.stdout.endswith("0 of 3 changed\n")
    found = stack.call("GET", "/admin/identities", key=stack.admin_key).json()["data"]
    assert [one["claw_type"] for one in found if one["name"] == "seeded bot"] == ["service"]


def test_a_webhook_s_secret_comes_from_a_variable_or_is_printed_once(
    stack: Deployed, tmp_path: Path
) -> None:
    file = tmp_path / "webhooks.yaml"
    file.write_text(
        "webhooks:\n"
        "  - {name: own, url: 'http://127.0.0.1:9000/own', secret_env: SEEDED_HOOK}\n"
        "  - {name: made, url: 'http://127.0.0.1:9000/made', filters: {types: [task]}}\n"
    )
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    arguments = ("bootstrap", "--file", str(file))

    unset = gatehouse(stack, *arguments)
    assert (unset.exit_code, unset.stderr.count("Error: ")) == (1, 1)
    assert "SEEDED_HOOK, which is not set" in unset.stderr
    done = gatehouse(stack, *arguments, SEEDED_HOOK=secret)
    assert done.exit_code == 0, done.stderr
    assert "add webhook own\nadd webhook made secret whsec_" in done.stdout
    assert secret not in done.stdout
    again = gatehouse(stack, *arguments, SEEDED_HOOK=secret)
    assert again.stdout == "keep webhook own\nkeep webhook made\n0 of 2 changed\n"
    listed = stack.call("GET", "/admin/webhooks", key=stack.admin_key).json()["data"]
    seeded = {one["url"]: one["filters"]["types"] for one in listed}
    assert seeded["http://127.0.0.1:9000/own"] == []
    assert seeded["http://127.0.0.1:9000/made"] == ["task"]
    file.write_text(file.read_text().replace("/made", "/made?x#y"))
    refused = gatehouse(stack, *arguments, SEEDED_HOOK=secret)
    assert (refused.exit_code, refused.stderr.count("Error: ")) == (1, 1)
    assert "line 3: webhooks[1].url" in refused.stderr


def test_a_bad_file_is_refused_in_one_sentence(stack: Deployed, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.yaml"
    file.write_text(FILE + "roles:\n  - {colour: red}\n")

    refused = gatehouse(stack, "bootstrap", "--file", str(file))
    assert refused.exit_code == 1
    assert "line 9: roles[0].colour is not a known field" in refused.stderr
    assert refused.stderr.count("\n") == 2, "the stack, then the error"
    both = gatehouse(stack, "bootstrap", "--recover", "--invite")
    assert (both.exit_code, both.stderr.count("\n")) == (2, 1)


def test_a_stack_is_bootstrapped_once(stack: Deployed) -> None:
    for option in ([], ["--invite"]):
        refused = gatehouse(stack, "bootstrap", *option)
        assert refused.exit_code == 1
        assert refused.stdout == ""
        assert "exists already" in refused.stderr
        assert "--recover creates another key" in refused.stderr


def test_recover_prints_a_new_admin_key_that_works(stack: Deployed) -> None:
    recovered = gatehouse(stack, "bootstrap", "--recover")

    assert recovered.exit_code == 0
    key = recovered.stdout.strip()
    assert key != stack.admin_key
    me = stack.call("GET", "/v1/whoami", key=key).json()["data"]
    assert me["identity"]["name"] == "recovered admin"
    assert stack.call("GET", "/admin/policy", key=key).status_code == 200


def test_a_stack_that_does_not_exist_is_named_in_one_sentence(stack: Deployed) -> None:
    refused = gatehouse(stack, "bootstrap", "--stack", "none")

    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: AWS returned an error: ")
    assert refused.stderr.count("\n") == 1
