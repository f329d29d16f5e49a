"""`gatehouse secrets`: read and re-wrap the encrypted secrets of a stack, by IAM alone."""

from typing import TYPE_CHECKING, Any

import click

from gatehouse_cli.aws_session import find_stack, open_session, stack_options
from gatehouse_cli.errors import CommandError
from gatehouse_cli.stack_functions import functions, invoke, readable_errors, stack_outputs

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_MOST_PASSES = 10


@click.group()
def secrets() -> None:
    """Print a provider's key, or re-wrap all secrets.

    Requires AWS credentials that can describe the stack and invoke its secrets or rewrap
    function.
    """


@secrets.command()
@click.argument("account")
@click.argument("secret", metavar="PURPOSE/NAME")
@stack_options
def get(account: str, secret: str, *, place: str | None, stack: str | None) -> None:
    """Print a provider's key that ACCOUNT stored.

    PURPOSE/NAME is provider/<name> or transcription/openai. The account's audit trail
    records the read.
    """
    target = find_stack(place, stack)
    session = open_session(target)
    with readable_errors(target.stack):
        name = stack_outputs(session, target.stack)["SecretsFunctionName"]
        payload = {"do": "get", "account": account, "secret": secret}
        answer = invoke(functions(session), name, payload, what="secrets")
    click.echo(answer["value"])


@secrets.command()
@stack_options
def rewrap(*, place: str | None, stack: str | None) -> None:
    """Re-wrap every secret under the key that is set now.

    That is HAMMURABI_SETTINGS_ENCRYPTION_KEY, or KMS when it is not set. Run this after a
    change, while HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS still holds the old key. It can be
    interrupted and started again.
    """
    target = find_stack(place, stack)
    session = open_session(target)
    with readable_errors(target.stack):
        name = stack_outputs(session, target.stack)["RewrapFunctionName"]
        rewrapped, left = rewrap_all(functions(session), name)
    click.echo(f"{rewrapped} re-wrapped")
    if left:
        raise CommandError(
            f"{left} secrets were not re-wrapped: no key that is set decrypts them."
            f" {name} logged which."
        )


def rewrap_all(client: "LambdaClient", function_name: str) -> tuple[int, int]:
    """Re-wrap until no secret is left; return how many were re-wrapped, and how many were not.

    Raises:
        RefusedError: A settings key is malformed, or AWS did not answer the function.
        CommandError: Secrets changed during every pass, or the function failed.

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
    raise CommandError(f"Secrets changed during all {_MOST_PASSES} passes: run this again.")
