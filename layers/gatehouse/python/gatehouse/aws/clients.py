"""Clients of AWS services, each created once per execution environment, on first use.

DynamoDB has a client of its own, `dynamo.client`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient
    from mypy_boto3_sqs import SQSClient

# Many services are checked in parallel, and a list has a deadline.
_CONTROL_PLANE_POOL = 40
_SOCKETS_POOL = 40


def make(
    service: str,
    *,
    read_timeout: float,
    attempts: int = 2,
    pool: int = 10,
    url: str | None = None,
    validate: bool = True,
) -> Any:
    """Create a client with short timeouts, in seconds, because a caller of the API is waiting.

    `attempts` counts the first try too; `pool` is the most connections kept open; `validate`
    checks parameters before they are sent. Sends nothing.
    """
    return botocore.session.get_session().create_client(
        service,
        endpoint_url=url,
        config=Config(
            connect_timeout=1,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=pool,
            parameter_validation=validate,
            tcp_keepalive=True,
        ),
    )


@cache
def kms() -> KMSClient:
    """Return the KMS client."""
    client: KMSClient = make("kms", read_timeout=3)
    return client


@cache
def sqs() -> SQSClient:
    """Return the SQS client."""
    client: SQSClient = make("sqs", read_timeout=3)
    return client


@cache
def lambdas() -> LambdaClient:
    """Return the Lambda client, for health checks and restarts."""
    client: LambdaClient = _control_plane("lambda")
    return client


@cache
def ecs() -> ECSClient:
    """Return the ECS client."""
    client: ECSClient = _control_plane("ecs")
    return client


@cache
def tagging() -> ResourceGroupsTaggingAPIClient:
    """Return the client that lists tagged resources."""
    client: ResourceGroupsTaggingAPIClient = _control_plane("resourcegroupstaggingapi")
    return client


@cache
def cloudwatch() -> CloudWatchClient:
    """Return the CloudWatch client."""
    client: CloudWatchClient = _control_plane("cloudwatch")
    return client


@cache
def logs() -> CloudWatchLogsClient:
    """Return the CloudWatch Logs client."""
    client: CloudWatchLogsClient = _control_plane("logs")
    return client


@cache
def sockets(url: str) -> ApiGatewayManagementApiClient:
    """Return the client that sends to open sockets of the WebSocket API at `url`."""
    client: ApiGatewayManagementApiClient = make(
        "apigatewaymanagementapi", read_timeout=3, pool=_SOCKETS_POOL, url=url
    )
    return client


def _control_plane(service: str) -> Any:
    # No automatic retries: callers know their deadline and decide.
    return make(service, read_timeout=8, attempts=1, pool=_CONTROL_PLANE_POOL)
