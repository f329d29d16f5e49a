"""Read the stack's log lines as they are written."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

# How far back each read goes: a line can arrive later than its timestamp.
OVERLAP_MS = 10_000
REMEMBERED = 5_000


_Content = tuple[str, str, int, str]
_Identity = tuple[_Content, int]


@dataclass(frozen=True)
class Line:
    """One log line."""

    group: str
    timestamp_ms: int
    message: str


class Follower:
    """Reads log groups repeatedly and returns each line once."""

    def __init__(
        self, client: "CloudWatchLogsClient", groups: Iterable[str], since_ms: int
    ) -> None:
        self._client = client
        self._groups = tuple(groups)
        self._since = since_ms
        self._newest = since_ms
        self._seen: OrderedDict[_Identity, None] = OrderedDict()

    def new_lines(self) -> list[Line]:
        """Return the lines that arrived since the last call, ordered by time."""
        lines = [line for group in self._groups for line in self._of(group)]
        if lines:
            self._newest = max(self._newest, *(line.timestamp_ms for line in lines))
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return sorted(lines, key=lambda line: line.timestamp_ms)

    def _of(self, group: str) -> Iterator[Line]:
        start = max(self._since, self._newest - OVERLAP_MS)
        paginator = self._client.get_paginator("filter_log_events")
        # The engine's events have no id; equal lines of one millisecond are numbered.
        count: Counter[_Content] = Counter()
        for page in paginator.paginate(logGroupName=group, startTime=start):
            for event in page["events"]:
                content = (group, event["logStreamName"], event["timestamp"], event["message"])
                count[content] += 1
                identity = (content, count[content])
                if identity not in self._seen:
                    self._seen[identity] = None
                    yield Line(group, event["timestamp"], event["message"].rstrip())
