"""Split the processor time of a warm authorized request. Runs alone on the deployed files.

    python own_time.py <requests> <event.json>

The handler is the one on the path, with the client that it has. AWS_ENDPOINT_URL_DYNAMODB names a
server in another process, so only this process's work counts: the handler's own, its log line
included, and the client's (serializing, signing, sending, receiving and parsing). Prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any


class _Lambda:
    """The part of Lambda's context that decorators read."""

    aws_request_id = "bench"
    function_name = "bench"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    memory_limit_in_mb = 1024


def main(requests: int, event: dict[str, Any]) -> dict[str, float]:
    """Time so many requests: whole, within the client, and the difference, in ms of CPU."""
    spent: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                spent.append(time.thread_time() - started)

        return counted

    import handler  # noqa: PLC0415 - the function under measurement, found by its path

    client = _client(handler)
    for operation in ("get_item", "update_item"):
        setattr(client, operation, timed(getattr(client, operation)))
    every, within = [], []
    for _ in range(requests):
        spent.clear()
        started = time.thread_time()
        verdict = handler.handler(event, _Lambda())
        every.append(time.thread_time() - started)
        within.append(sum(spent))
        if verdict["policyDocument"]["Statement"][0]["Effect"] != "Allow":
            raise RuntimeError("a live key was refused")
        if not spent:
            raise RuntimeError("the client that is measured was not called")
    warm = slice(requests // 10, None)
    own = [(whole - inner) * 1000 for whole, inner in zip(every, within, strict=True)]
    return {
        "total_ms": median(every[warm]) * 1000,
        "client_ms": median(within[warm]) * 1000,
        "own_ms": median(own[warm]),
        "own_p99_ms": quantiles(own[warm], n=100)[98],
    }


def _client(handler: Any) -> Any:
    """Return the client of our handler (`TABLE.client`) or of the usual (`table.meta.client`)."""
    return handler.TABLE.client if hasattr(handler, "TABLE") else handler.table.meta.client


if __name__ == "__main__":
    count, event_file = sys.argv[1:]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = main(int(count), json.loads(Path(event_file).read_text()))
    sys.stdout.write(json.dumps(found))
