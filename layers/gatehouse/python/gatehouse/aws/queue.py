"""SQS's one home: messages of plain text, sent in tens, and how deep a queue is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.core.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# The most seconds for which SQS holds a message back.
LONGEST_DELAY = 900

_AT_ONCE = 10
_TRIES = 3
_DEPTH = "ApproximateNumberOfMessages"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message. Those of a `group` share one turn in the queue; `delay` is seconds, 0 to 900."""

    body: str
    group: str
    delay: int = 0


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue holds, as SQS guesses it."""

    visible: int
    in_flight: int
    delayed: int


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue by its URL."""

    url: str
    client: SQSClient = field(repr=False)

    def send(self, messages: Sequence[Outgoing]) -> None:
        """Send all messages, or raise Unavailable when some could not be sent."""
        for start in range(0, len(messages), _AT_ONCE):
            self._send(messages[start : start + _AT_ONCE])

    def depth(self) -> Depth:
        """Ask how many messages there are. Raises Unavailable."""
        answer = _call(
            self.client.get_queue_attributes,
            QueueUrl=self.url,
            AttributeNames=[_DEPTH, f"{_DEPTH}NotVisible", f"{_DEPTH}Delayed"],
        )
        found = answer["Attributes"]
        return Depth(
            int(found[_DEPTH]), int(found[f"{_DEPTH}NotVisible"]), int(found[f"{_DEPTH}Delayed"])
        )

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
        for _ in range(_TRIES):
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
