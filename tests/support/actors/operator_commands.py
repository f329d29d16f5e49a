"""The `gatehouse` command in this process, with the engine as its AWS."""

from __future__ import annotations

from click.testing import CliRunner, Result

from gatehouse_cli.main import cli
from support.worlds.deployed_stack import Deployed

LOCAL_STACK = "gatehouse"


def environment(stack: Deployed) -> dict[str, str]:
    """Return the variables that name the engine as AWS, with the credentials of its root."""
    return {
        "AWS_ENDPOINT_URL": stack.endpoint,
        "AWS_ACCESS_KEY_ID": stack.access.key_id,
        "AWS_SECRET_ACCESS_KEY": stack.access.secret,
        "AWS_REGION": "us-east-1",
    }


def gatehouse(stack: Deployed, *arguments: str, **variables: str) -> Result:
    """Run a command of the operator. `exit_code`, `stdout` and `stderr` are those of a process."""
    if "--stack" not in arguments:
        arguments = (*arguments, "--stack", LOCAL_STACK)
    return CliRunner().invoke(cli, arguments, env=environment(stack) | variables)


def gatehouse_as(stack: Deployed, key: str, *arguments: str) -> Result:
    """Run a command that calls the API with a key."""
    variables = {"GATEHOUSE_URL": stack.url, "GATEHOUSE_API_KEY": key}
    return CliRunner().invoke(cli, arguments, env=variables)
