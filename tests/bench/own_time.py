"""Split the time of one warm authorized request. Runs alone on the deployed files, without a table.

    python own_time.py <requests> <item.json> <event.json>

The handler is the one on the path. A hook inside botocore answers instead of DynamoDB, so the rest
is the handler's own work and botocore's: serializing, signing and parsing. Prints JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest.mock import patch

import botocore.client
from botocore.awsrequest import AWSResponse


class _Body:
    """A response's body as botocore reads it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **_: Any) -> list[bytes]:
        return [self._data]


class _Lambda:
    """The part of Lambda's context that decorators read."""

    aws_request_id = "bench"
    function_name = "bench"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    memory_limit_in_mb = 1024


def main(requests: int, item: dict[str, Any], event: dict[str, Any]) -> dict[str, float]:
    """Time so many requests: whole, within botocore, and the difference, in milliseconds."""
    answers = {
        "GetItem": json.dumps({"Item": item}).encode(),
        "UpdateItem": json.dumps({"Attributes": item | {"requests": {"N": "1"}}}).encode(),
    }
    spent: list[float] = []
    made = botocore.client.BaseClient._make_api_call  # noqa: SLF001 - each request passes here

    def answer(request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 200, headers, _Body(answers[operation]))

    def timed(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        started = time.perf_counter()
        try:
            return made(client, operation, arguments)
        finally:
            spent.append(time.perf_counter() - started)

    with patch.object(botocore.client.BaseClient, "_make_api_call", timed):
        import handler  # noqa: PLC0415 - the function under measurement, found by its path

        for client in _clients(handler):
            client.meta.events.register_first("before-send.dynamodb", answer)
        every, botocores = [], []
        for _ in range(requests):
            spent.clear()
            started = time.perf_counter()
            verdict = handler.handler(event, _Lambda())
            every.append(time.perf_counter() - started)
            botocores.append(sum(spent))
            if verdict["policyDocument"]["Statement"][0]["Effect"] != "Allow":
                raise RuntimeError("a live key was refused")
    warm = slice(requests // 10, None)
    own = [(whole - inner) * 1000 for whole, inner in zip(every, botocores, strict=True)]
    return {
        "total_ms": median(every[warm]) * 1000,
        "botocore_ms": median(botocores[warm]) * 1000,
        "own_ms": median(own[warm]),
        "own_p99_ms": quantiles(own[warm], n=100)[98],
    }


def _clients(handler: Any) -> list[Any]:
    """Return the clients of our handler (`TABLE.client`) or of the usual (`table.meta.client`)."""
    if hasattr(handler, "TABLE"):
        return [handler.TABLE.client]
    return [handler.table.meta.client]


if __name__ == "__main__":
    count, item_file, event_file = sys.argv[1:]
    arguments = [json.loads(Path(name).read_text()) for name in (item_file, event_file)]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = main(int(count), *arguments)
    sys.stdout.write(json.dumps(found))
