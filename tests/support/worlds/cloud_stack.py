"""An AWS account in memory, with a small stack that has the outputs of a Gatehouse stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto import mock_aws

TABLE = {
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
}
_TABLE = {"Type": "AWS::DynamoDB::Table", "Properties": TABLE}
_STACK = {
    "Parameters": {"LogRetentionDays": {"Type": "String", "Default": "30"}},
    "Resources": {"KeysTable": _TABLE, "MainTable": _TABLE},
    "Outputs": {
        "KeysTableName": {"Value": {"Ref": "KeysTable"}},
        "MainTableName": {"Value": {"Ref": "MainTable"}},
    },
}


@contextmanager
def account(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be in an empty AWS account, and in one of its regions, while the block runs."""
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


def create_stack(name: str, **parameters: str) -> None:
    """Create the stack."""
    boto3.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=json.dumps(_STACK),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    )


def protected_tables() -> dict[str, Any]:
    """Return the account's tables, and whether each is protected from deletion."""
    dynamo = boto3.client("dynamodb")
    return {
        name: dynamo.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"]
        for name in dynamo.list_tables()["TableNames"]
    }
