"""Webhook deliveries the usual way: for each record read the webhook, post, store the result."""

import json
import os
from typing import Any

import boto3
import urllib3

dynamodb = boto3.client("dynamodb")
http = urllib3.PoolManager()


def handler(event: dict[str, Any], context: Any) -> None:  # noqa: ARG001 - Lambda's signature
    """Deliver a batch."""
    for record in event["Records"]:
        message = json.loads(record["body"])
        webhook = dynamodb.get_item(
            TableName=os.environ["GATEHOUSE_MAIN_TABLE"], Key=message["webhook"]
        )["Item"]
        response = http.request(
            "POST",
            webhook["url"]["S"],
            body=json.dumps(message["payload"]),
            headers={"Content-Type": "application/json"},
            timeout=10,
        )
        dynamodb.update_item(
            TableName=os.environ["GATEHOUSE_MAIN_TABLE"],
            Key=message["delivery"],
            UpdateExpression="SET #status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={
                ":status": {"S": "delivered" if response.status < 300 else "failed"}
            },
        )
