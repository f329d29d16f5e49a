"""The messages of a queue, as the event that Lambda sends to a worker."""

from __future__ import annotations

from typing import Any

from gatehouse.aws import clients


def waiting(url: str) -> bool:
    """Return whether a queue has messages, visible or delayed."""
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")
    found = clients.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=counts)
    return any(int(found["Attributes"][name]) for name in counts)


def drain(url: str) -> dict[str, Any]:
    """Receive and delete up to ten visible messages; return them as the event of a batch."""
    client = clients.sqs()
    answer = client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    )
    records = []
    for message in answer.get("Messages", []):
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        records.append(
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:deliveries",
                "awsRegion": "us-east-1",
            }
        )
    return {"Records": records}
