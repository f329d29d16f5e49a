"""`gatehouse up`: from an empty folder to a running stack, to nothing left running, and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gatehouse_cli.local import env_file
from support.worlds.deployed_stack import PROJECT, Deployed, command, free_ports


def test_the_first_run_prints_its_steps_the_url_and_the_key(stack: Deployed) -> None:
    output = stack.first_run.output

    for step in ("Starting the engine", "Building", "Deploying", "Checking the key"):
        assert step in output
    assert stack.url in output
    assert output.count(stack.first_run.admin_key) == 1


def test_the_logs_are_printed_until_ctrl_c(stack: Deployed) -> None:
    logged = stack.first_run.output.partition("Ctrl-C stops it")[2]

    assert "  keysaccount  " in logged
    assert stack.first_run.account_key not in logged


def test_ctrl_c_stops_everything_in_order(stack: Deployed) -> None:
    assert stack.first_run.exit_code == 0
    assert stack.first_run.ports_open_after == ()
    assert stack.first_run.output.endswith("Stopped.\n")
    assert "Traceback" not in stack.first_run.output


def test_a_second_start_deploys_nothing_and_is_ready_within_20_s(stack: Deployed) -> None:
    assert not any("Deploying" in step or "Building" in step for step in stack.restart_steps)
    assert stack.restarted_in < 20


def test_keys_survive_a_restart(stack: Deployed) -> None:
    assert stack.admin_key == stack.first_run.admin_key
    for key in (stack.first_run.admin_key, stack.first_run.account_key):
        assert stack.call("GET", "/v1/whoami", key=key).status_code == 200


def test_the_gateway_s_refusals_survive_a_restart(stack: Deployed) -> None:
    refused = stack.call("GET", "/v1/whoami")
    unknown = stack.call("GET", "/nothing/here")

    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json() == {
        "error": "Unauthorized",
        "status": 401,
        "request_id": refused.headers["x-request-id"],
        "code": "AUTH_INVALID_KEY",
        "message": "Unauthorized",
        "detail": "The credential is missing or invalid.",
    }
    assert unknown.status_code == 404
    assert unknown.json()["error"] == "Not Found"


def test_items_still_expire_after_a_restart(stack: Deployed) -> None:
    described = stack.client("dynamodb").describe_time_to_live(
        TableName=stack.outputs["MainTableName"]
    )["TimeToLiveDescription"]

    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


def test_functions_know_the_hosts_that_no_webhook_may_call(stack: Deployed) -> None:
    functions = stack.client("lambda")
    variables = functions.get_function_configuration(
        FunctionName=stack.outputs["BootstrapFunctionName"]
    )["Environment"]["Variables"]

    own = set(variables["GATEHOUSE_OWN_HOSTS"].split(","))
    ports = {url.rpartition(":")[2] for url in (stack.url, stack.endpoint)}
    assert {f"{host}:{port}" for host in ("localhost", "127.0.0.1") for port in ports} <= own
    assert variables["GATEHOUSE_OUTBOUND"] == "local"


def test_local_env_holds_the_url_and_the_key_for_its_owner_only(stack: Deployed) -> None:
    env = env_file.read(stack.home.env_file)

    assert env is not None
    assert (env.url, env.api_key) == (stack.url, stack.admin_key)
    assert stack.home.env_file.stat().st_mode & 0o777 == 0o600
    assert stack.home.state.stat().st_mode & 0o777 == 0o700


def test_a_second_stack_with_the_same_home_or_ports_is_refused(
    stack: Deployed, tmp_path: Path
) -> None:
    port, engine_port = stack.first_run.ports
    elsewhere = ["--home", str(tmp_path)]
    free = str(free_ports(1)[0])
    refusals = {
        "already running": ["--home", str(stack.home.root)],
        f"Port {port} is in use": [*elsewhere, "--port", str(port)],
        f"Port {engine_port} is in use": [
            *elsewhere, "--port", free, "--engine-port", str(engine_port),
        ],
    }  # fmt: skip

    for text, options in refusals.items():
        tried = subprocess.run(
            [command("gatehouse"), "up", *options],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert tried.returncode == 1
        assert text in tried.stderr
        assert tried.stderr.count("\n") == 1
