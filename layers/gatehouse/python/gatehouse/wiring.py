"""Where clients are made: once per execution environment, when first asked for.

A handler that needs the table on every request asks at import, so that the cost lies in the
init phase; see docs/decisions.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import botocore.session
from botocore.config import Config

from gatehouse import settings
from gatehouse.table import Table, Tables

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_resourcegroupstaggingapi import ResourceGroupsTaggingAPIClient
    from mypy_boto3_sqs import SQSClient


@cache
def dynamodb() -> DynamoDBClient:
    """Make the DynamoDB client.

    Short timeouts and few attempts: a caller waits behind every second spent here, and after
    two the honest answer is 503.
    """
    client: DynamoDBClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "dynamodb",
        config=Config(
            connect_timeout=1,
            read_timeout=2,
            retries={"mode": "standard", "total_max_attempts": 2},
            parameter_validation=False,
            tcp_keepalive=True,
        ),
    )
    return client


@cache
def kms() -> KMSClient:
    """Make the KMS client, for the handlers that keep secrets."""
    client: KMSClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "kms",
        config=Config(
            connect_timeout=1,
            read_timeout=3,
            retries={"mode": "standard", "total_max_attempts": 2},
        ),
    )
    return client


@cache
def sqs() -> SQSClient:
    """Make the SQS client."""
    client: SQSClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "sqs",
        config=Config(
            connect_timeout=1,
            read_timeout=3,
            retries={"mode": "standard", "total_max_attempts": 2},
            tcp_keepalive=True,
        ),
    )
    return client


@cache
def lambdas() -> LambdaClient:
    """Make the Lambda client, for functions that are watched and restarted."""
    client: LambdaClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "lambda", config=_control_plane()
    )
    return client


@cache
def ecs() -> ECSClient:
    """Make the ECS client."""
    client: ECSClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "ecs", config=_control_plane()
    )
    return client


@cache
def tagging() -> ResourceGroupsTaggingAPIClient:
    """Make the client that finds what is tagged."""
    client: ResourceGroupsTaggingAPIClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "resourcegroupstaggingapi", config=_control_plane()
    )
    return client


@cache
def cloudwatch() -> CloudWatchClient:
    """Make the CloudWatch client."""
    client: CloudWatchClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "cloudwatch", config=_control_plane()
    )
    return client


@cache
def logs() -> CloudWatchLogsClient:
    """Make the CloudWatch Logs client."""
    client: CloudWatchLogsClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "logs", config=_control_plane()
    )
    return client


@cache
def sockets(url: str) -> ApiGatewayManagementApiClient:
    """Make the client that writes into the open sockets of one WebSocket API.

    A frame is taken at once or not at all: whoever does not answer in a moment holds up the rest.
    """
    client: ApiGatewayManagementApiClient = botocore.session.get_session().create_client(  # type: ignore[assignment]
        "apigatewaymanagementapi",
        endpoint_url=url,
        config=Config(
            connect_timeout=1,
            read_timeout=3,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=40,
            tcp_keepalive=True,
        ),
    )
    return client


@cache
def _control_plane() -> Config:
    # Many are asked at once, and the caller waits: one more try, by those who know what for. Lists
    # have deadlines of their own; a change that AWS takes its time for is better waited for.
    return Config(
        connect_timeout=1,
        read_timeout=8,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=40,
        tcp_keepalive=True,
    )


@cache
def tables() -> Tables:
    """Find the two tables."""
    client = dynamodb()
    return Tables(
        Table(settings.KEYS_TABLE.text(), client), Table(settings.MAIN_TABLE.text(), client)
    )


@cache
def keys_table() -> Table:
    """Find the table of the keys as looked up; the authorizer knows no other."""
    return Table(settings.KEYS_TABLE.text(), dynamodb())
