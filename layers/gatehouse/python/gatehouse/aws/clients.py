"""The clients of AWS's services, each made once per execution environment when first asked for.

DynamoDB's is made by `dynamo.connection`, with the same `make`.
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

# Many services are read at once, and a list has a deadline of its own.
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
    """Make a client with short timeouts, in seconds: a caller of the API waits behind it.

    `attempts` counts all tries; `pool` is the most connections kept open; `validate` checks
    parameters before they are sent. Nothing is sent yet.
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
    """Make the KMS client, for the handlers that keep secrets."""
    client: KMSClient = make("kms", read_timeout=3)
    return client


@cache
def sqs() -> SQSClient:
    """Make the SQS client."""
    client: SQSClient = make("sqs", read_timeout=3)
    return client


@cache
def lambdas() -> LambdaClient:
    """Make the Lambda client, for functions that are checked and restarted."""
    client: LambdaClient = _control_plane("lambda")
    return client


@cache
def ecs() -> ECSClient:
    """Make the ECS client."""
    client: ECSClient = _control_plane("ecs")
    return client


@cache
def tagging() -> ResourceGroupsTaggingAPIClient:
    """Make the client that finds tagged resources."""
    client: ResourceGroupsTaggingAPIClient = _control_plane("resourcegroupstaggingapi")
    return client


@cache
def cloudwatch() -> CloudWatchClient:
    """Make the CloudWatch client."""
    client: CloudWatchClient = _control_plane("cloudwatch")
    return client


@cache
def logs() -> CloudWatchLogsClient:
    """Make the CloudWatch Logs client."""
    client: CloudWatchLogsClient = _control_plane("logs")
    return client


@cache
def sockets(url: str) -> ApiGatewayManagementApiClient:
    """Make the client that writes into the open sockets of one WebSocket API."""
    client: ApiGatewayManagementApiClient = make(
        "apigatewaymanagementapi", read_timeout=3, pool=_SOCKETS_POOL, url=url
    )
    return client


def _control_plane(service: str) -> Any:
    # No automatic retries: callers decide, since only they know their deadline.
    return make(service, read_timeout=8, attempts=1, pool=_CONTROL_PLANE_POOL)
