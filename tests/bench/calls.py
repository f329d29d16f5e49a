"""Count the table calls of an authorized request, where its client sends them.

The tables are moto's, behind a server in this process. The clock is a number that the bench
advances, so request rates are exact on any machine: whether a request takes one call or two
depends on whether its key is busy, and so only on the clock.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median
from types import ModuleType
from typing import Any
from unittest.mock import patch

import boto3
from moto import mock_aws

from gatehouse.core import clock
from gatehouse.credentials import rules
from gatehouse.dynamo import connection
from gatehouse.dynamo.client import DynamoClient
from gatehouse.dynamo.kept_connections import HttpAnswer
from support.aws import invocation, resources, table_server
from support.aws.api_gateway import Front

LIMIT = 6_000  # the stack's default
LOADS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9)  # share of the limit that a key's caller uses
_REQUESTS = 600


@dataclass(frozen=True, slots=True)
class Cost:
    """The table calls of a series of authorized requests, per request."""

    calls: float
    most_calls: int
    sent_bytes: float
    received_bytes: float
    ms: float


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = clock.now()

    def __call__(self) -> clock.Micros:
        return self.now


@dataclass
class Meter:
    """Counts the requests of a client, and the bytes of their bodies and answers."""

    calls: int = 0
    sent: int = 0
    received: int = 0

    def watch(self, client: DynamoClient) -> None:
        """Count from now on."""
        connections: Any = client._connections  # noqa: SLF001 - each request passes here
        exchange = connections.exchange

        def counted(request: bytes) -> HttpAnswer:
            answer: HttpAnswer = exchange(request)
            self.calls += 1
            self.sent += len(request.partition(b"\r\n\r\n")[2])
            self.received += len(answer.body)
            return answer

        connections.exchange = counted


@contextlib.contextmanager
def tables() -> Iterator[None]:
    """Create moto's tables, and set the variables that name them."""
    credentials = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "GATEHOUSE_ACCOUNT_CREATION": "open",
        "GATEHOUSE_DEFAULT_RATE_LIMIT": str(LIMIT),
    }
    with (
        mock_aws(),
        table_server.serve(table_server.moto) as url,
        patch.dict(os.environ, credentials),
    ):
        os.environ.update(resources.create_tables("bench"))
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = url
        _forget_clients()
        yield
        _forget_clients()


def add_keys(count: int, *, limited: bool = True) -> list[str]:
    """Write credentials as the product writes a default key's; return the keys' texts."""
    client = boto3.client("dynamodb")
    table = os.environ["GATEHOUSE_KEYS_TABLE"]
    like = item(limited=limited)
    texts = [rules.format_key("hk", random.randbytes(rules.SECRET_BYTES)) for _ in range(count)]  # noqa: S311 - opens nothing
    for start in range(0, count, 25):
        requests = [
            {"PutRequest": {"Item": like | {"pk": {"S": f"KEY#{rules.hash_key(text)}"}}}}
            for text in texts[start : start + 25]
        ]
        client.batch_write_item(RequestItems={table: requests})
    return texts


def item(*, limited: bool) -> dict[str, Any]:
    """Create an account, and return its key's credential as a DynamoDB item."""
    with contextlib.redirect_stdout(io.StringIO()):
        opened = Front()("POST", "/v1/accounts", body={"name": "bench"})
    text = opened.json()["data"]["api_key"]["key"]
    found: dict[str, Any] = boto3.client("dynamodb").get_item(
        TableName=os.environ["GATEHOUSE_KEYS_TABLE"],
        Key={"pk": {"S": f"KEY#{rules.hash_key(text)}"}},
    )["Item"]
    return {
        name: value for name, value in found.items() if limited or name not in {"lim", "ivl", "ref"}
    }


def authorizers(count: int) -> list[ModuleType]:
    """Load the authorizer once for each environment, each with its own memory."""
    return [invocation.load("authorizer") for _ in range(count)]


def event(text: str) -> dict[str, Any]:
    """Return the event with which API Gateway asks about a key."""
    return {
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:us-east-1:123456789012:api/live/GET/v1/whoami",
        "headers": {"Authorization": f"Bearer {text}"},
        "requestContext": {"requestId": "bench"},
    }


def spread(environments: list[ModuleType], text: str, load: float, *, seed: int = 1) -> Cost:
    """Use one key at a share of its limit, at random times and in random environments."""
    chance = random.Random(seed)  # noqa: S311 - a traffic pattern
    held = Clock()
    meter = Meter()
    meter.watch(connection.client())
    per_micro = load * LIMIT / clock.MINUTE
    calls, took = [], []
    with patch.object(clock, "now", held), contextlib.redirect_stdout(io.StringIO()):
        for number in range(_REQUESTS):
            held.now += round(chance.expovariate(per_micro))
            before, started = meter.calls, time.perf_counter()
            answer = chance.choice(environments).handler(event(text), None)
            took.append((time.perf_counter() - started) * 1000)
            if answer["policyDocument"]["Statement"][0]["Effect"] != "Allow":
                raise RuntimeError("a live key was refused")
            if number:  # at the first one the key is cold
                calls.append(meter.calls - before)
    return Cost(
        calls=mean(calls),
        most_calls=max(calls),
        sent_bytes=meter.sent / meter.calls,
        received_bytes=meter.received / meter.calls,
        ms=median(took),
    )


def forget() -> None:
    """Create new clients, so that no earlier meter counts their requests."""
    _forget_clients()


def _forget_clients() -> None:
    for made in (connection.client, connection.tables, connection.keys_table):
        made.cache_clear()
