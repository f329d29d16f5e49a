"""SQS: send text messages in batches of ten, and read how many a queue holds."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# SQS delays a message by 900 seconds at most.
LONGEST_DELAY = 900

_BATCH = 10
_THREADS = 10  # the client keeps as many connections
# SQS may refuse some messages of a batch.
_REFUSED = Backoff(3, first=0.05)
_DEPTH = "ApproximateNumberOfMessages"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message. SQS serves groups in turn; `delay` is in seconds, 0 to 900."""

    body: str
    group: str
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue holds; SQS reports approximate numbers."""

    visible: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue by its URL."""

    url: str
    client: SQSClient = field(repr=False)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send all messages, or raise Unavailable when some could not be sent."""
        batches = [messages[start : start + _BATCH] for start in range(0, len(messages), _BATCH)]
        if len(batches) == 1:
            self._send(batches[0])
        elif batches:
            with ThreadPoolExecutor(min(_THREADS, len(batches))) as pool:
                list(pool.map(self._send, batches))

    def depth(self) -> Depth:
        """Read how many messages there are. Raises Unavailable."""
        answer = _call(
            self.client.get_queue_attributes,
            QueueUrl=self.url,
            AttributeNames=[_DEPTH, f"{_DEPTH}NotVisible"],
        )
        counts = answer["Attributes"]
        return Depth(int(counts[_DEPTH]), int(counts[f"{_DEPTH}NotVisible"]))

    def _send(self, messages: Sequence[Outgoing]) -> None:
        entries: list[dict[str, Any]] = [
            {
                "Id": str(number),
                "MessageBody": message.body,
                "DelaySeconds": message.delay,
                "MessageGroupId": message.group,
            }
            for number, message in enumerate(messages)
        ]
        for _ in _REFUSED.tries():
            answer = _call(self.client.send_message_batch, QueueUrl=self.url, Entries=entries)
            failed = {entry["Id"] for entry in answer.get("Failed", [])}
            if not failed:
                return
            entries = [entry for entry in entries if entry["Id"] in failed]
        raise Unavailable


def _call(operation: Any, **request: Any) -> Any:
    try:
        return operation(**request)
    except (BotoCoreError, ClientError) as error:
        raise Unavailable from error
