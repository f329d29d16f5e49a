"""Faults of calls to AWS: errors, lost answers, and the end of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError

from gatehouse.dynamo.answers import CallUnanswered

Plan = Callable[[int, str], Any]


class Killed(BaseException):
    """Ends the process, for a test: no `except Exception` catches it."""


@dataclass
class KillSwitch:
    """Counts external calls while armed, and raises Killed once, before or after call `at`."""

    when: str = "before"
    at: int | None = None
    calls: int = 0
    armed: bool = True

    def before(self, *_: Any) -> None:
        """Count a call, and end the process before it if it is the one."""
        if self.armed:
            self.calls += 1
        self._strike("before")

    def after(self, *_: Any) -> None:
        """End the process after a call if it is the one."""
        self._strike("after")

    def _strike(self, when: str) -> None:
        if self.armed and when == self.when and self.calls == self.at:
            self.at = None
            raise Killed


class Wire:
    """Records the operations of a client's calls, and makes calls fail as a plan says.

    `before` and `after` are called with the number of the call (from 1) and its operation. They
    return None or raise; `before` may also return an answer, and the call is then not sent.
    """

    def __init__(self, client: Any, *, service: str = "dynamodb") -> None:
        self.calls: list[str] = []
        self.before: Plan | None = None
        self.after: Plan | None = None
        self._client = client
        self._service = service
        client.meta.events.register(f"before-call.{service}", self._before)
        client.meta.events.register(f"after-call.{service}", self._after)

    def close(self) -> None:
        """Remove the hooks."""
        self._client.meta.events.unregister(f"before-call.{self._service}", self._before)
        self._client.meta.events.unregister(f"after-call.{self._service}", self._after)

    def clear(self) -> None:
        """Forget the calls and the plans."""
        self.calls.clear()
        self.before = self.after = None

    def _before(self, model: Any, **_: Any) -> Any:
        self.calls.append(model.name)
        return self.before(len(self.calls), model.name) if self.before else None

    def _after(self, model: Any, **_: Any) -> None:
        if self.after:
            self.after(len(self.calls), model.name)


@contextmanager
def wire(client: Any, *, service: str = "dynamodb") -> Iterator[Wire]:
    """Record and disturb a client's calls until the block ends."""
    watching = Wire(client, service=service)
    try:
        yield watching
    finally:
        watching.close()


def error(code: str, status: int = 400, **parsed: Any) -> tuple[AWSResponse, dict[str, Any]]:
    """Return the answer of DynamoDB for an error."""
    http = AWSResponse("https://dynamodb.us-east-1.amazonaws.com", status, {}, None)
    return http, {
        "Error": {"Code": code, "Message": f"{code} for a test"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **parsed,
    }


def conflict_in_transaction(writes: int) -> tuple[AWSResponse, dict[str, Any]]:
    """Return the answer to a transaction whose last item another transaction is writing."""
    reasons = [{"Code": "None"}] * (writes - 1) + [
        {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    ]
    return error("TransactionCanceledException", CancellationReasons=reasons)


def no_answer() -> None:
    """Raise the error of a table that does not answer."""
    raise CallUnanswered("for a test")


def unreachable() -> None:
    """Raise the error of another service's client that cannot connect."""
    raise EndpointConnectionError(endpoint_url="https://kms.us-east-1.amazonaws.com")


def first(times: int, fault: Callable[[], Any], operation: str | None = None) -> Plan:
    """Return a plan that makes the first calls fail; with `operation`, only calls of it count."""
    left = times

    def plan(_: int, called: str) -> Any:
        nonlocal left
        if left == 0 or operation not in {None, called}:
            return None
        left -= 1
        return fault()

    return plan


def die_at(number: int) -> Plan:
    """Return a plan that ends the process at a call."""

    def plan(call: int, _: str) -> None:
        if call == number:
            raise Killed

    return plan
