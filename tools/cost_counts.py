"""What docs/costs.md multiplies with prices. Tests compare COUNTED and STACK with the code."""

from __future__ import annotations

from collections.abc import Mapping

# Counted by tests/rooms/test_costs.py: write and read units of DynamoDB, and bytes of items.
COUNTED: Mapping[str, float] = {
    "request of a key with a limit, writes": 1,
    "request of a key without a limit, reads": 1,
    "new key, writes": 17,
    "delivery, writes": 8,
    "delivery, reads": 3,
    "first retry, writes": 9,
    "each further retry, writes": 6,
    "retry, reads": 2,
    "dead letter after four attempts, writes": 33,
    "signal of 20 KB, writes": 27,
    "batch of the stream, writes": 6,
    "batch of the stream, reads": 1,
    "idle sweep, reads": 69,
    "stored delivery, bytes": 600,
}
# Of template.yaml.
STACK: Mapping[str, float] = {
    "authorizer, GB": 1,
    "handler, GB": 0.5,
    "fan-out, GB": 1_769 / 1_024,
    "worker, GB": 1,
    "statistics, GB": 0.5,
    "sweeper, GB": 0.5,
    "signals in a batch of the fan-out": 25,
    "messages in a batch, fast lane": 10,
    "messages in a batch, slow lane": 100,
    "changes in a batch of the statistics": 500,
    "days that signals are kept": 30,
    "queues that Lambda polls": 3,
    "alarms": 16,
    "share of requests that are traced": 0.01,
    "traced requests a second, at least": 1,
}
# Not measured on AWS. Seconds of one run, kilobytes, and updates of a key that many environments
# serve.
ASSUMED: Mapping[str, float] = {
    "authorizer": 0.008,
    "handler": 0.010,
    "fan-out, one signal": 0.030,
    "fan-out, full batch": 0.060,
    "worker, one message": 0.080,
    "worker, full batch": 0.100,
    "worker, hanging": 11.0,
    "statistics, one delivery": 0.015,
    "statistics, full batch": 0.050,
    "sweeper": 0.060,
    "KB of logs, request": 1.8,
    "KB of logs, one run": 0.5,
    "KB of logs, delivery": 0.7,
    "bytes of a stored signal": 1_000,
    "KB of data out, delivery": 2.0,
    "updates of a busy key": 1.2,
    "empty receives of a queue in a month": 657_000,
}
