"""Calls to AWS control planes, with their errors as exceptions of ours.

ControlPlaneError    AWS refused, for a reason that a retry does not change; `code` names it
├── ResourceMissing   the resource does not exist (any more)
├── ResourceChanged   it changed since the caller read it; read it again
├── ControlPlaneBusy  another change is running, or the account's request quota is used up; retry
└── NoAnswer          no answer in time; whether it was done is unknown
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


class ControlPlaneError(Exception):
    """AWS did not do it. `code` is AWS's error code; its message may name internals."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ResourceMissing(ControlPlaneError):
    """The resource does not exist."""


class ResourceChanged(ControlPlaneError):
    """The resource changed since it was read. Nothing was done."""


class ControlPlaneBusy(ControlPlaneError):
    """Another change is running, or there were too many requests. Nothing was done."""


class NoAnswer(ControlPlaneError):
    """Unreachable, or too slow. Whether it was done is unknown."""


_KINDS: dict[str, type[ControlPlaneError]] = {
    "ClusterNotFoundException": ResourceMissing,
    "ResourceNotFoundException": ResourceMissing,
    "ServiceNotFoundException": ResourceMissing,
    "PreconditionFailedException": ResourceChanged,
    "InternalError": NoAnswer,
    "InternalFailure": NoAnswer,
    "InternalServiceError": NoAnswer,
    "InternalServiceException": NoAnswer,
    "ServerException": NoAnswer,
    "ServiceException": NoAnswer,
    "ServiceUnavailable": NoAnswer,
    "ServiceUnavailableException": NoAnswer,
    "LimitExceededException": ControlPlaneBusy,
    "ResourceConflictException": ControlPlaneBusy,
    "ThrottledException": ControlPlaneBusy,
    "Throttling": ControlPlaneBusy,
    "ThrottlingException": ControlPlaneBusy,
    "TooManyRequestsException": ControlPlaneBusy,
    "UpdateInProgressException": ControlPlaneBusy,
}


@dataclass(frozen=True, slots=True)
class Cloud:
    """The control planes' clients, each created on first use, since creating one costs time."""

    lambdas: Callable[[], LambdaClient]
    ecs: Callable[[], ECSClient]
    tagging: Callable[[], ResourceGroupsTaggingAPIClient]
    cloudwatch: Callable[[], CloudWatchClient]
    logs: Callable[[], CloudWatchLogsClient]


def call(operation: Callable[..., Any], **request: Any) -> Any:
    """Call AWS; raise its errors as those above."""
    try:
        return operation(**request)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise _KINDS.get(code, ControlPlaneError)(code) from error
    except BotoCoreError as error:
        raise NoAnswer(type(error).__name__) from error
