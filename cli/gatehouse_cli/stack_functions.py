"""Invoke the functions of a stack that only IAM authorizes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse_cli.errors import CommandError
from gatehouse_cli.terminal import print_line

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class RefusedError(Exception):
    """The function returned an error; `code` identifies it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def invoke(
    client: "LambdaClient", function_name: str, payload: dict[str, Any], *, what: str
) -> dict[str, Any]:
    """Invoke a function and return its answer; `what` names it in errors.

    Raises:
        RefusedError: The function returned an error.
        CommandError: The function raised an exception.

    """
    response = client.invoke(FunctionName=function_name, Payload=json.dumps(payload).encode())
    raw = response["Payload"].read()
    if response.get("FunctionError"):
        raise CommandError(f"The {what} function failed: {_reason(raw)}. See its log group.")
    answer: dict[str, Any] = json.loads(raw)
    match answer:
        case {"error": {"code": str(code), "message": str(message)}}:
            raise RefusedError(code, message)
    return answer


def _reason(raw: bytes) -> str:
    """Return the `errorMessage` with which Lambda describes an unhandled exception."""
    try:
        return str(json.loads(raw)["errorMessage"]).splitlines()[0]
    except (ValueError, LookupError, TypeError):
        return "no reason given"


@contextmanager
def readable_errors(stack: str) -> Iterator[None]:
    """Turn each error of a stack's functions into a CommandError."""
    try:
        yield
    except RefusedError as refused:
        raise CommandError(str(refused)) from refused
    except KeyError as missing:
        raise CommandError(
            f"Stack {stack} has no output {missing}: name a Gatehouse stack with --stack."
        ) from missing
    except (BotoCoreError, ClientError) as error:
        raise CommandError(f"AWS returned an error: {error}") from error


def stack_outputs(session: boto3.Session, stack: str) -> dict[str, str]:
    """Return the outputs of a stack in the session's AWS account, and print which one that is."""
    described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    *_, region, account, _ = described["StackId"].split(":", 5)
    print_line(f"Stack {stack} in {region}, AWS account {account}", err=True)
    return {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", [])}
