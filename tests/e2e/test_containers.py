"""A function in a container of Lambda's, with the deployed stack behind it."""

from __future__ import annotations

import os
import subprocess

import pytest

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import containers
from support.worlds.deployed_stack import PROJECT, Deployed, command


@pytest.fixture(scope="module", autouse=True)
def _docker() -> None:
    try:
        containers.find_bridge()
    except CommandError as missing:
        pytest.skip(str(missing))


def test_a_function_in_a_container_reads_the_stack_s_tables(stack: Deployed) -> None:
    # The event's account has no audit events here; without a table the answer would be 503.
    done = subprocess.run(
        [
            command("gatehouse"), "invoke", "KeysAdmin",
            "--skip-pull-image", "--home", str(stack.home.root),
        ],
        cwd=PROJECT,
        env={**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )  # fmt: skip
    if done.returncode != 0 and "pull" in done.stderr.lower():
        pytest.skip("Docker has no image of the Lambda runtime and cannot pull it")
    assert done.returncode == 0, done.stderr
    assert '"statusCode": 200' in done.stdout
