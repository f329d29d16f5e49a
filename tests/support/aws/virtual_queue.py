"""SQS in virtual time: delays, groups that are served fairly, and messages that come back.

A group is a noisy neighbour while more than a tenth of the messages in flight are its own, and more
than a few; this is judged every second. Its messages are received only where no other group has
any. Otherwise the oldest message is first.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from support.aws.virtual_time import VirtualTime, Waiting

SEND, RECEIVE = 0.010, 0.008  # seconds of a call
NOISY_SHARE, NOISY_FEW = 0.1, 10
_JUDGED_EVERY: Micros = SECOND


@dataclass
class Queued:
    """A message; `receives` counts how often it was received."""

    number: int
    body: str
    group: str
    sent_at: Micros
    receives: int = 0
    handle: int = 0  # of its last receive; 0: it was deleted


class VirtualQueue:
    """One queue. `visibility` is in seconds; a message that comes back too often is `failed`."""

    def __init__(self, time: VirtualTime, *, visibility: float = 180, receives: int = 5) -> None:
        self.sent = 0
        self.received = 0
        self.failed: list[Queued] = []
        self.in_flight: Counter[str] = Counter()
        self._time = time
        self._visibility = visibility
        self._most_receives = receives
        self._numbers = itertools.count(1)
        self._visible: dict[str, deque[Queued]] = {}
        self._count = 0
        self._oldest: list[tuple[int, str]] = []  # the first message of each group
        self._hidden: list[tuple[Micros, int, Queued, int]] = []
        self._arrived = Waiting(time)
        self._noisy: set[str] = set()
        self._judged_at: Micros = -SECOND

    @property
    def visible(self) -> int:
        """The number of messages that can be received now."""
        self._show()
        return self._count

    def put(self, body: str, *, group: str = "", delay: float = 0) -> None:
        """Add a message."""
        self.sent += 1
        message = Queued(next(self._numbers), body, group, self._time.now)
        if delay:
            self._hide(message, delay)
        else:
            self._add(message)

    def receive(self, most: int, *, window: float = 0) -> list[Queued]:
        """Wait for messages, and with a window for more of them; take up to `most`."""
        messages = self._take_first(most)
        self._time.sleep(RECEIVE)
        ends_at = self._time.now + round(window * SECOND)
        while len(messages) < most and self._time.now < ends_at:
            more = self._take(min(10, most - len(messages)))
            messages += more
            if not more:
                self._arrived.wait(min(0.1, (ends_at - self._time.now) / SECOND))
        return messages

    def delete(self, messages: Sequence[Queued]) -> None:
        """Delete received messages."""
        for message in messages:
            message.handle = 0
            self.in_flight[message.group] -= 1

    def _take_first(self, most: int) -> list[Queued]:
        while True:
            messages = self._take(min(10, most))
            if messages:
                return messages
            until = (self._hidden[0][0] - self._time.now) / SECOND if self._hidden else None
            self._arrived.wait(until)

    def _take(self, most: int) -> list[Queued]:
        self._show()
        self._judge()
        messages = []
        while self._count and len(messages) < most:
            message = self._pop()
            self._count -= 1
            self.received += 1
            self.in_flight[message.group] += 1
            message.receives += 1
            message.handle = next(self._numbers)
            self._hide(message, self._visibility)
            messages.append(message)
        return messages

    def _pop(self) -> Queued:
        aside: list[tuple[int, str]] = []
        while self._oldest:
            first = heapq.heappop(self._oldest)
            if first[1] not in self._noisy:
                break
            aside.append(first)
        else:
            first = aside.pop(0)
        for one in aside:
            heapq.heappush(self._oldest, one)
        group = first[1]
        held = self._visible[group]
        message = held.popleft()
        if held:
            heapq.heappush(self._oldest, (held[0].number, group))
        return message

    def _add(self, message: Queued) -> None:
        held = self._visible.setdefault(message.group, deque())
        if not held:
            heapq.heappush(self._oldest, (message.number, message.group))
        held.append(message)
        self._count += 1
        self._arrived.notify()

    def _hide(self, message: Queued, seconds: float) -> None:
        at = self._time.now + round(seconds * SECOND)
        heapq.heappush(self._hidden, (at, message.number, message, message.handle))
        self._arrived.notify()  # whoever waits does so until the first one appears

    def _show(self) -> None:
        while self._hidden and self._hidden[0][0] <= self._time.now:
            _, _, message, handle = heapq.heappop(self._hidden)
            if message.receives and message.handle != handle:
                continue  # deleted, or received again since
            if message.receives:
                self.in_flight[message.group] -= 1
                if message.receives >= self._most_receives:
                    self.failed.append(message)
                    continue
            self._add(message)

    def _judge(self) -> None:
        if self._time.now < self._judged_at + _JUDGED_EVERY:
            return
        self._judged_at = self._time.now
        most = max(NOISY_FEW, NOISY_SHARE * sum(self.in_flight.values()))
        self._noisy = {group for group, count in self.in_flight.items() if count > most}


class VirtualSqs:
    """The client of SQS, as far as `gatehouse.aws.queue` uses it. Queues have their name as URL."""

    def __init__(self, time: VirtualTime) -> None:
        self.queues: dict[str, VirtualQueue] = {}
        self.calls = 0
        self._time = time

    def add(self, url: str, **settings: Any) -> VirtualQueue:
        """Make a queue."""
        self.queues[url] = VirtualQueue(self._time, **settings)
        return self.queues[url]

    def send_message_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803 - as the service names it
        Entries: Sequence[dict[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        """Add up to ten messages."""
        assert 0 < len(Entries) <= 10
        self._call(SEND)
        for one in Entries:
            assert 0 <= one["DelaySeconds"] <= 900
            self.queues[QueueUrl].put(
                one["MessageBody"], group=one["MessageGroupId"], delay=one["DelaySeconds"]
            )
        return {"Successful": [{"Id": one["Id"]} for one in Entries]}

    def get_queue_attributes(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        AttributeNames: Sequence[str],  # noqa: N803
    ) -> dict[str, Any]:
        """Return the numbers of visible messages and of those in flight."""
        del AttributeNames
        self._call(RECEIVE)
        queue = self.queues[QueueUrl]
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(queue.visible),
                "ApproximateNumberOfMessagesNotVisible": str(sum(queue.in_flight.values())),
            }
        }

    def _call(self, seconds: float) -> None:
        self.calls += 1
        self._time.sleep(seconds * self._time.rng.uniform(0.8, 1.4))
