"""Runs live logs through every function involved, for the tests of permissions."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.core import clock, settings
from gatehouse.logs import backlog, broadcast, rules, sweep
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.faults import error, wire
from support.aws.queue_events import drain
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads

_GROUP = "/aws/lambda/fn-watched"


def drive(front: Front, workloads: Workloads, key: str, *, queue: str) -> None:
    """Make the functions of live logs send each kind of request to AWS at least once."""
    watched, relay = workloads.function("watched"), _relay(workloads)
    workloads.container("webbed")
    workloads.logs.create_log_group(logGroupName=_GROUP)
    workloads.logs.create_log_stream(logGroupName=_GROUP, logStreamName="one")
    assert _GROUP.endswith(watched)
    held = HeldClock()
    workloads.logs.put_log_events(
        logGroupName=_GROUP,
        logStreamName="one",
        logEvents=[{"timestamp": held() // 1000, "message": "before all"}],
    )
    held.advance(seconds=60)  # the stored list of services is then too old
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", held)
        patch.setattr(rules, "POLL_EVERY", 0)
        patch.setattr(backlog, "CATCH_UP_AFTER", 0)
        for module in (broadcast, sweep):
            # moto may lose a write when two transactions run at the same time.
            patch.setattr(module, "_SIDE_BY_SIDE", 1)
        _Driven(front, workloads, key, queue=queue, relay=relay, held=held).all()
    for name in ("log_relay", "sweeper"):
        front.renew(name)  # a loaded function keeps the clock that it was loaded with


def _relay(workloads: Workloads) -> str:
    """Create a function that filters can send to; return its ARN."""
    name = workloads.function("relay", tags={"gatehouse:logs": "off"})
    said = workloads.lambdas.get_function(FunctionName=name)["Configuration"]
    return str(said["FunctionArn"])


class _Driven:
    def __init__(
        self,
        front: Front,
        workloads: Workloads,
        key: str,
        *,
        queue: str,
        relay: str,
        held: HeldClock,
    ) -> None:
        for name in ("sockets", "log_relay", "sweeper"):
            front.renew(name)
        self._front, self._workloads, self._key = front, workloads, key
        self._queue, self._relay, self._held = queue, relay, held

    def all(self) -> None:
        self._connect("first")
        self._push("held back for the first")
        self._work()
        self._push("of a filter that delivers")
        self._leave_while_held_back("second")
        self._connect("third", service="webbed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(settings.HEALTH_SOURCE.name, "logs")
            self._connect("fourth", service="webbed")
            self._connect("fifth")
        self._work()
        with wire(self._sockets(), service="apigatewaymanagementapi") as line:
            line.before = lambda *_: error("GoneException", 410)
            self._push("to a viewer who has gone")
        self._connect("slow")
        self._work()
        with wire(self._sockets(), service="apigatewaymanagementapi") as line:
            line.before = lambda *_: error("LimitExceededException", 429)
            self._push("faster than it is taken")
        self._connect("sixth")
        self._push("held back for the sixth")
        self._held.advance(seconds=61)
        self._sweep()  # queues the backlog of `sixth` again
        self._work()
        self._held.advance(seconds=300)
        assert self._sweep()["pinged"] >= 2
        self._connect("seventh")
        self._push("held back for the seventh")
        self._held.advance(seconds=119 * 60)
        assert self._sweep()["closed"] >= 3
        self._held.advance(seconds=120)
        assert self._sweep()["filters"] == 2  # one filter was requested for a missing group

    def _sockets(self) -> Any:
        return clients.sockets(settings.SOCKETS.text())

    def _connect(self, connection: str, *, service: str = "watched") -> None:
        event = invocation.event("sockets")
        event["headers"]["Authorization"] = f"Bearer {self._key}"
        event["queryStringParameters"] = {"service": service}
        asked = event["requestContext"]
        asked["connectionId"] = connection
        del asked["authorizer"]
        request = {**event, "type": "REQUEST", "methodArn": "arn:aws:execute-api:r:1:ws/live/$c"}
        said = self._front.function("authorizer").handler(request, invocation.Context())
        asked["authorizer"] = {**said["context"], "principalId": said["principalId"]}
        answer = self._front.function("sockets").handler(event, invocation.Context())
        assert answer["statusCode"] == 200, answer

    def _leave_while_held_back(self, connection: str) -> None:
        self._connect(connection)
        self._push("held back for a viewer who leaves")
        event = invocation.event("sockets")
        event["requestContext"] |= {"eventType": "DISCONNECT", "connectionId": connection}
        answer = self._front.function("sockets").handler(event, invocation.Context())
        assert answer == {"statusCode": 200}

    def _push(self, message: str) -> None:
        at = self._held() // 1000
        filters = self._workloads.logs.describe_subscription_filters(logGroupName=_GROUP)
        said = {
            "messageType": "DATA_MESSAGE",
            "logGroup": _GROUP,
            "logStream": "one",
            "subscriptionFilters": [one["filterName"] for one in filters["subscriptionFilters"]],
            "logEvents": [{"id": "1", "timestamp": at, "message": message}],
        }
        data = base64.b64encode(gzip.compress(json.dumps(said).encode())).decode()
        self._call({"awslogs": {"data": data}})

    def _work(self) -> None:
        """Run the queued tasks, and those that they queue; four rounds, since polls never end."""
        for _ in range(4):
            for record in drain(self._queue)["Records"]:
                assert self._call({"Records": [record]}) == {"batchItemFailures": []}

    def _call(self, event: dict[str, Any]) -> dict[str, Any]:
        context = invocation.Context()
        context.invoked_function_arn = self._relay
        answer: dict[str, Any] = self._front.function("log_relay").handler(event, context)
        return answer

    def _sweep(self) -> dict[str, int]:
        event = invocation.event("sweeper")
        done: dict[str, int] = self._front.function("sweeper").handler(event, invocation.Context())
        return done
