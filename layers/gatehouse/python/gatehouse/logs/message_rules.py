"""What the relay receives: tasks in its queue, and pushes of CloudWatch Logs. Pure."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from gatehouse.logs.line_rules import by_time, with_ids
from gatehouse.logs.model import CatchUp, Open, Poll, PushedLines, Task

_LARGEST_PUSH = 64 * 1024 * 1024  # bytes, decompressed


def parse_push(data: str) -> PushedLines | None:
    """Parse the data of a push; None for the test message that CloudWatch sends to a new filter.

    Raises ValueError for anything else.
    """
    try:
        text = zlib.decompressobj(wbits=31).decompress(base64.b64decode(data), _LARGEST_PUSH)
        push = json.loads(text)
        if push["messageType"] != "DATA_MESSAGE":
            return None
        events = [(event["timestamp"], event["message"]) for event in push["logEvents"]]
        return PushedLines(
            group=push["logGroup"],
            stream=push["logStream"],
            filters=tuple(push["subscriptionFilters"]),
            lines=tuple(by_time(with_ids(push["logStream"], events))),
        )
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise ValueError("data must be a message of CloudWatch Logs") from error


def task_body(task: Task) -> str:
    """Return a task as the body of a queue message."""
    if isinstance(task, Open):
        body: dict[str, Any] = {"do": "open", "group": task.group, "connection": task.connection}
    elif isinstance(task, Poll):
        body = {"do": "poll", "group": task.group, "turn": task.turn}
    else:
        body = {
            "do": "catch_up",
            "group": task.group,
            "connection": task.connection,
            "since": task.since,
            "until": task.until,
            "known": list(task.known),
        }
    return json.dumps(body, separators=(",", ":"))


def parse_task(text: str) -> Task:
    """Parse the body of a queue message."""
    body = json.loads(text)
    kinds: dict[str, type[Task]] = {"open": Open, "poll": Poll, "catch_up": CatchUp}
    return kinds[body.pop("do")](**body)
