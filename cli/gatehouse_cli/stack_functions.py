"""Invoke the functions of a stack that only IAM authorizes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from gatehouse_cli.errors import CommandError
from gatehouse_cli.terminal import print_line

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


# No function runs longer than 900 seconds. One attempt: a second one would change things again, and
# what the first one created is shown in its answer only.
ONCE = Config(
    connect_timeout=10, read_timeout=930, retries={"total_max_attempts": 1}, tcp_keepalive=True
)


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
        CommandError: The function raised an exception, or its answer was lost.

    """
    try:
        response = client.invoke(FunctionName=function_name, Payload=json.dumps(payload).encode())
        raw = response["Payload"].read()
    except HTTPClientError as error:
        raise CommandError(
            f"The answer of the {what} function was lost: {error}. It may have done its work: read"
            " its log group before you run this again."
        ) from error
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
    except ClientError as error:
        raise CommandError(f"AWS returned an error: {error}") from error
    except BotoCoreError as error:
        raise CommandError(f"The request to AWS failed: {error}") from error


def functions(session: boto3.Session) -> "LambdaClient":
    """Return a client that invokes a function once, and waits as long as a function can run."""
    return session.client("lambda", config=ONCE)


def stack_outputs(session: boto3.Session, stack: str) -> dict[str, str]:
    """Return the outputs of a stack in the session's AWS account, and print which one that is."""
    described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    *_, region, account, _ = described["StackId"].split(":", 5)
    print_line(f"Stack {stack} in {region}, AWS account {account}", err=True)
    return {item["OutputKey"]: item["OutputValue"] for item in described.get("Outputs", [])}
