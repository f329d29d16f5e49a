"""Clients of the local engine only, whatever AWS settings the developer has."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config

from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.sam import REGION
from gatehouse_cli.stack_functions import ONCE

if TYPE_CHECKING:
    from mypy_boto3_apigateway import APIGatewayClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Clients:
    """One client for each service that `gatehouse up` uses, with the engine's root account."""

    apigateway: "APIGatewayClient"
    cloudformation: "CloudFormationClient"
    dynamodb: "DynamoDBClient"
    functions: "LambdaClient"
    logs: "CloudWatchLogsClient"
    s3: "S3Client"


def clients(access: EngineAccess) -> Clients:
    """Create the clients of an engine."""
    made, endpoint = session(access), access.endpoint
    config = Config(proxies={}, retries={"total_max_attempts": 2}, read_timeout=60)
    return Clients(
        apigateway=made.client("apigateway", endpoint_url=endpoint, config=config),
        cloudformation=made.client("cloudformation", endpoint_url=endpoint, config=config),
        dynamodb=made.client("dynamodb", endpoint_url=endpoint, config=config),
        functions=made.client("lambda", endpoint_url=endpoint, config=config.merge(ONCE)),
        logs=made.client("logs", endpoint_url=endpoint, config=config),
        s3=made.client("s3", endpoint_url=endpoint, config=config),
    )


def session(access: EngineAccess) -> boto3.Session:
    """Create a session of the engine's root that reads neither profiles nor configuration files."""
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    return boto3.Session(
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret,
        region_name=REGION,
        botocore_session=core,
    )
