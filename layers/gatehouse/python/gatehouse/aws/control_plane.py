"""AWS's control planes as the rooms ask them: clients made late, errors told once.

Failed
├── Missing   there is no such thing (any more)
├── Changed   it is no longer what the caller saw; read it again
├── Busy      another change is under way, or the account's quota is used up; try again
├── Silent    no answer in time
└── Failed    AWS refused, for a reason that another try does not change; `code` names it
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient


class Failed(Exception):
    """AWS did not do it. `code` is AWS's own word for why; its text may name internals."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Missing(Failed):
    """There is no such thing."""


class Changed(Failed):
    """It changed since it was read, and nothing was done."""


class Busy(Failed):
    """Not now: another change is under way, or too many requests. Nothing was done."""


class Silent(Failed):
    """No answer: unreachable, or too slow. Whether it was done is not known."""


_KINDS: dict[str, type[Failed]] = {
    "ClusterNotFoundException": Missing,
    "ResourceNotFoundException": Missing,
    "ServiceNotFoundException": Missing,
    "PreconditionFailedException": Changed,
    "InternalError": Silent,
    "InternalFailure": Silent,
    "InternalServiceError": Silent,
    "InternalServiceException": Silent,
    "ServerException": Silent,
    "ServiceException": Silent,
    "ServiceUnavailable": Silent,
    "ServiceUnavailableException": Silent,
    "LimitExceededException": Busy,
    "ResourceConflictException": Busy,
    "ThrottledException": Busy,
    "Throttling": Busy,
    "ThrottlingException": Busy,
    "TooManyRequestsException": Busy,
    "UpdateInProgressException": Busy,
}


@dataclass(frozen=True, slots=True)
class Cloud:
    """The control planes. A client is made when it is first asked for, since each costs time."""

    lambdas: Callable[[], LambdaClient]
    ecs: Callable[[], ECSClient]
    tagging: Callable[[], ResourceGroupsTaggingAPIClient]
    cloudwatch: Callable[[], CloudWatchClient]
    logs: Callable[[], CloudWatchLogsClient]


def call(operation: Callable[..., Any], **request: Any) -> Any:
    """Call AWS and tell its errors in our words."""
    try:
        return operation(**request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise _KINDS.get(code, Failed)(code) from error
    except BotoCoreError as error:
        raise Silent(type(error).__name__) from error
