"""Lambda in virtual time: environments that take messages of a queue or records of a stream.

Each environment loads its function afresh, so that nothing is shared which is not shared on AWS.
All are warm from the start, and an environment has one invocation at a time.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.aws import invocation
from support.aws.expressions import Item
from support.aws.stream_records import record_of_images
from support.aws.virtual_queue import Queued, VirtualQueue
from support.aws.virtual_time import VirtualTime, Waiting

Handler = Callable[[dict[str, Any], Any], Any]

INVOKE = 0.010  # seconds from the source to the function, and back
POLL = 0.1  # seconds until a stream's new records are read, at most
_MOST_TRIES = 5


def load(group: str) -> Handler:
    """Load a function in a new environment."""
    handler: Handler = invocation.load(group).handler
    return handler


class QueueWorkers:
    """The environments of a function that receives messages."""

    def __init__(
        self,
        time: VirtualTime,
        queue: VirtualQueue,
        group: str,
        *,
        concurrency: int,
        batch: int = 10,
        window: float = 0,
    ) -> None:
        self.invocations = 0
        self.busy = 0.0  # seconds of all invocations, which is what they cost
        self.errors: list[Exception] = []
        self._time, self._queue = time, queue
        self._batch, self._window = batch, window
        for _ in range(concurrency):
            handler = load(group)
            time.spawn(lambda handler=handler: self._serve(handler), group)

    def _serve(self, handler: Handler) -> None:
        while True:
            messages = self._queue.receive(self._batch, window=self._window)
            self._time.sleep(INVOKE)
            self.invocations += 1
            began = self._time.seconds
            try:
                answer = handler({"Records": [_received(one) for one in messages]}, _context())
            except Exception as error:  # noqa: BLE001 - all messages come back
                self.errors.append(error)
                continue
            finally:
                self.busy += self._time.seconds - began
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            self._queue.delete([one for one in messages if str(one.number) not in failed])


class StreamReaders:
    """The environments of a function that reads a table's stream: `factor` for each shard.

    A shard's records of one item go to the same environment, in order. A batch whose function
    fails is tried again from the failed record, and given up after five tries.
    """

    def __init__(
        self,
        time: VirtualTime,
        group: str,
        *,
        patterns: Sequence[str],
        shards: int = 1,
        factor: int = 1,
        batch: int = 100,
        window: float = 0,
    ) -> None:
        self.invocations = 0
        self.lost: list[dict[str, Any]] = []
        self._time = time
        self._patterns = [json.loads(pattern) for pattern in patterns]
        self._shards, self._factor, self._batch, self._window = shards, factor, batch, window
        self._numbers = 0
        self._records = [deque[dict[str, Any]]() for _ in range(shards * factor)]
        self._arrived = [Waiting(time) for _ in self._records]
        for number in range(shards * factor):
            handler = load(group)
            time.spawn(lambda handler=handler, number=number: self._serve(handler, number), group)

    @property
    def waiting(self) -> int:
        """The number of records that were not read yet."""
        return sum(map(len, self._records))

    def watch(self, _: str, old: Item | None, new: Item | None) -> None:
        """Take one change of the table into the stream, if a pattern matches it."""
        there = new or old
        assert there is not None
        self._numbers += 1
        one = record_of_images(self._numbers, old, new)
        if not any(matches(pattern, one) for pattern in self._patterns):
            return
        pk, sk = there["pk"]["S"], there.get("sk", {"S": ""})["S"]
        shard = zlib.crc32(pk.encode()) % self._shards
        number = shard * self._factor + zlib.crc32(f"{pk} {sk}".encode()) % self._factor
        self._records[number].append(one)
        self._arrived[number].notify()

    def _serve(self, handler: Handler, number: int) -> None:
        records = self._records[number]
        while True:
            if not records:
                self._arrived[number].wait()
                self._time.sleep(max(self._window, self._time.rng.uniform(0, POLL)))
            self._handle(
                handler, [records.popleft() for _ in range(min(self._batch, len(records)))]
            )

    def _handle(self, handler: Handler, records: list[dict[str, Any]]) -> None:
        for _ in range(_MOST_TRIES):
            self._time.sleep(INVOKE)
            self.invocations += 1
            answer = handler({"Records": records}, _context())
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            numbers = [one["dynamodb"]["SequenceNumber"] for one in records]
            if not failed:
                return
            records = records[min(numbers.index(one) for one in failed) :]
        self.lost += records


def _received(message: Queued) -> dict[str, Any]:
    return {
        "messageId": str(message.number),
        "receiptHandle": str(message.handle),
        "body": message.body,
        "attributes": {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(message.sent_at // 1_000),
            "MessageGroupId": message.group,
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }


def matches(pattern: Mapping[str, Any], value: Any) -> bool:
    """Whether an event's part matches a filter's: lists name the values allowed."""
    for name, wanted in pattern.items():
        found = value.get(name) if isinstance(value, dict) else None
        if isinstance(wanted, dict):
            if not matches(wanted, found or {}):
                return False
        elif found not in wanted and not any(_allows(one, found) for one in wanted):
            return False
    return True


def _allows(rule: Any, found: Any) -> bool:
    if not isinstance(rule, dict):
        return False
    [(kind, wanted)] = rule.items()
    if kind == "exists":
        return bool((found is not None) == wanted)
    if kind == "prefix":
        return isinstance(found, str) and found.startswith(wanted)
    assert kind == "anything-but", kind
    return found is not None and found not in wanted


def _context() -> invocation.Context:
    return invocation.Context()
