"""`gatehouse secrets`: what a stack keeps encrypted, by IAM alone."""

from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.config import Config

from gatehouse_cli.errors import CommandError
from gatehouse_cli.stack_functions import invoke, readable_errors, stack_outputs

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# The functions end after a minute at most.
_CONFIG = Config(read_timeout=90, retries={"total_max_attempts": 1})
_MOST_PASSES = 10

stack_option = click.option(
    "--stack", default="gatehouse", show_default=True, help="CloudFormation stack."
)


@click.group()
def secrets() -> None:
    """Read a provider's key, or wrap all secrets by another key.

    Needs AWS credentials that may describe the stack and invoke its secrets or rewrap function.
    """


@secrets.command()
@click.argument("account")
@click.argument("secret", metavar="PURPOSE/NAME")
@stack_option
def get(account: str, secret: str, stack: str) -> None:
    """Print the key of a provider that an account keeps, on that account's record.

    PURPOSE/NAME is provider/<name> or transcription/openai.
    """
    with readable_errors(stack):
        session = boto3.Session()
        name = stack_outputs(session, stack)["SecretsFunctionName"]
        payload = {"do": "get", "account": account, "secret": secret}
        answer = invoke(session.client("lambda", config=_CONFIG), name, payload, what="secrets")
    click.echo(answer["value"])


@secrets.command()
@stack_option
def rewrap(stack: str) -> None:
    """Wrap every secret by the key that is set now, or by KMS where none is.

    For after a change of HAMMURABI_SETTINGS_ENCRYPTION_KEY, while the one before is still set as
    HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS. May be stopped and begun again at any moment.
    """
    with readable_errors(stack):
        session = boto3.Session()
        name = stack_outputs(session, stack)["RewrapFunctionName"]
        rewrapped, left = rewrap_all(session.client("lambda", config=_CONFIG), name)
    click.echo(f"{rewrapped} re-wrapped")
    if left:
        raise CommandError(f"{left} are left: no key that is set opens them; {name} logged which.")


def rewrap_all(client: "LambdaClient", function_name: str) -> tuple[int, int]:
    """Go through all secrets until none is left to do; return how many were done, and left.

    Raises:
        RefusedError: A settings key is malformed, or something did not answer.
        CommandError: Secrets kept changing, or the function failed.

    """
    total = 0
    for _ in range(_MOST_PASSES):
        rewrapped = left = 0
        step: dict[str, Any] = {"cursor": None}
        while True:
            payload = {"do": "rewrap", "cursor": step["cursor"]}
            step = invoke(client, function_name, payload, what="rewrap")
            rewrapped += step["rewrapped"]
            left += step["left"]
            if step["cursor"] is None:
                break
        total += rewrapped
        if step["done"] or (left and not rewrapped):
            return total, left
    raise CommandError("Secrets changed all the while: run it once more.")
