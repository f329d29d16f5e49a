"""An authorizer the usual way: a boto3 resource, a read, a write, three Powertools decorators."""

import hashlib
import os
import time
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="usual")

table = boto3.resource("dynamodb").Table(os.environ["GATEHOUSE_KEYS_TABLE"])


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda passes it
    """Allow a live key that is below its limit for this minute."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    key = headers.get("authorization", "").removeprefix("Bearer ")
    item = find(key)
    metrics.add_metric(name="Authorized", unit=MetricUnit.Count, value=1 if item else 0)
    logger.info("authorized" if item else "refused")
    return policy(event["methodArn"], item)


@tracer.capture_method
def find(key: str) -> dict[str, Any] | None:
    """Read the key, check it, count the request and record the time of use."""
    pk = f"KEY#{hashlib.sha256(key.encode()).hexdigest()}"
    item = table.get_item(Key={"pk": pk}, ConsistentRead=True).get("Item")
    if item is None or not item["en"]:
        return None
    minute = int(time.time()) // 60
    counter = table.update_item(
        Key={"pk": f"COUNT#{item['id']}#{minute}"},
        UpdateExpression="ADD requests :one SET used = :now",
        ExpressionAttributeValues={":one": 1, ":now": int(time.time())},
        ReturnValues="ALL_NEW",
    )["Attributes"]
    return item if counter["requests"] <= item["lim"] else None


def policy(method_arn: str, item: dict[str, Any] | None) -> dict[str, Any]:
    """Return a policy as API Gateway expects it."""
    return {
        "principalId": item["id"] if item else "nobody",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow" if item else "Deny",
                    "Resource": "/".join(method_arn.split("/")[:2]) + "/*",
                }
            ],
        },
        "context": {"account_id": item["acc"], "key_id": item["id"]} if item else {},
    }
