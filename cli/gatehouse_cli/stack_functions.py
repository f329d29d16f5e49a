"""Invoking those of the stack's functions that answer IAM and nobody else."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse_cli.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class RefusedError(Exception):
    """The function answered with an error of its own; `code` tells which."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def invoke(
    client: "LambdaClient", function_name: str, payload: dict[str, Any], *, what: str
) -> dict[str, Any]:
    """Invoke a function and return its answer; `what` is what a person calls it.

    Raises:
        RefusedError: The function declined.
        CommandError: The function failed.

    """
    response = client.invoke(FunctionName=function_name, Payload=json.dumps(payload).encode())
    raw = response["Payload"].read()
    if response.get("FunctionError"):
        raise CommandError(f"The {what} function failed: {_reason(raw)}; its log group tells more.")
    answer: dict[str, Any] = json.loads(raw)
    match answer:
        case {"error": {"code": str(code), "message": str(message)}}:
            raise RefusedError(code, message)
    return answer


def _reason(raw: bytes) -> str:
    """Lambda describes an unhandled error as an object with `errorMessage`."""
    try:
        return str(json.loads(raw)["errorMessage"]).splitlines()[0]
    except (ValueError, LookupError, TypeError):
        return "it gave no reason"


@contextmanager
def readable_errors(stack: str) -> Iterator[None]:
    """Tell whatever goes wrong with a stack's functions in one sentence."""
    try:
        yield
    except RefusedError as refused:
        raise CommandError(str(refused)) from refused
    except KeyError as missing:
        raise CommandError(f"Stack {stack} has no output {missing}: is it Gatehouse?") from missing
    except (BotoCoreError, ClientError) as error:
        raise CommandError(f"AWS refused: {error}") from error


def stack_outputs(session: boto3.Session, stack: str) -> dict[str, str]:
    """Return the outputs of a stack in the session's AWS account."""
    described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", [])}
