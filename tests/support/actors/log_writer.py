"""Functions and streams of an end-to-end test that write log lines."""

from __future__ import annotations

import time
import uuid

from support.actors.deployed_function import Function
from support.worlds.deployed_stack import Deployed

CODE = """
def handler(event, context):
    for line in event["lines"]:
        print(line)
"""


class LogWriter(Function):
    """A deployed function that logs the lines it is invoked with."""

    def __init__(self, stack: Deployed) -> None:
        super().__init__(stack, code=CODE)
        self.logs = stack.client("logs")
        self.group = f"/aws/lambda/{self.name}"
        self.write("hello")  # the first line creates the group

    def write(self, *lines: str) -> None:
        """Log lines, in one call."""
        assert self.invoke(lines=list(lines)) is None

    def filters(self) -> list[str]:
        """Name the subscription filters of its log group."""
        found = self.logs.describe_subscription_filters(logGroupName=self.group)
        return [one["filterName"] for one in found["subscriptionFilters"]]


class LogStream:
    """A log stream of a writer's group that the test itself writes to."""

    def __init__(self, writer: LogWriter) -> None:
        self._logs, self._group = writer.logs, writer.group
        self._name = uuid.uuid4().hex
        self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._name)

    def write(self, *lines: str) -> None:
        """Write lines with the present time."""
        now = time.time_ns() // 1_000_000
        self._logs.put_log_events(
            logGroupName=self._group,
            logStreamName=self._name,
            logEvents=[{"timestamp": now, "message": line} for line in lines],
        )
