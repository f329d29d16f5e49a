"""What live logs call, as far as moto lacks it: sockets, searches that lag, time, threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import ClientError

from gatehouse.aws import clients
from gatehouse.aws.queue import Outgoing
from gatehouse.core.clock import SECOND, Micros
from support.aws.faults import KillSwitch

if TYPE_CHECKING:
    from support.worlds.live_logs import LiveLogs


@dataclass
class OpenSockets:
    """The open sockets: frames that each received, throttled ones (`stuck`) and closed ones."""

    kill_switch: KillSwitch
    open: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    closed: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        self.kill_switch.before()
        if ConnectionId not in self.open:
            raise _refused("GoneException", 410)
        if ConnectionId in self.stuck:
            raise _refused("LimitExceededException", 429)
        self.sizes.append(len(Data))
        self.open[ConnectionId].append(json.loads(Data))
        self.kill_switch.after()

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        self.kill_switch.before()
        if ConnectionId not in self.open:
            raise _refused("GoneException", 410)
        self.closed.append(ConnectionId)
        self.open.pop(ConnectionId)
        self.kill_switch.after()


def _refused(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PostToConnection")


class CloudWatch:
    """CloudWatch Logs whose searches find a line only `lag` seconds after it was written."""

    def __init__(self, live_logs: LiveLogs) -> None:
        self.live_logs = live_logs
        self.lag = 0.0
        self.refuses: dict[str, str] = {}  # operation → error code
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.put_at: dict[str, Micros] = {}
        self._real = clients.logs()

    def filter_log_events(self, **request: Any) -> Any:
        # Ordered by time, as CloudWatch returns events.
        answer = self._call("filter_log_events", {**request, "interleaved": True})
        live_logs = self.live_logs
        answer["events"] = [
            event
            for event in answer["events"]
            if live_logs.written_at.get(event["message"], 0) + self.lag * SECOND
            <= live_logs.held.at
        ]
        return answer

    def put_subscription_filter(self, **request: Any) -> Any:
        self.put_at.setdefault(request["filterName"], self.live_logs.held.at)
        return self._call("put_subscription_filter", request)

    def delete_subscription_filter(self, **request: Any) -> Any:
        return self._call("delete_subscription_filter", request)

    def _call(self, name: str, request: dict[str, Any]) -> Any:
        self.live_logs.kill_switch.before()
        self.calls.append((name, request))
        if name in self.refuses:
            raise ClientError({"Error": {"Code": self.refuses[name]}}, name)
        answer = getattr(self._real, name)(**request)
        self.live_logs.kill_switch.after()
        return answer


@dataclass
class TaskQueue:
    """The relay's queue: moto checks the messages, and the world keeps their times."""

    live_logs: LiveLogs

    def send(self, messages: Sequence[Outgoing]) -> None:
        live_logs = self.live_logs
        live_logs.kill_switch.before()
        # moto's queue validates the messages; the delays are simulated by `tasks`.
        live_logs.queue.send(messages)
        # moto counts the messages of the queue with every message it takes.
        live_logs.sent.clear()
        live_logs.tasks += [(live_logs.held.at + one.delay * SECOND, one.body) for one in messages]
        live_logs.kill_switch.after()


class FakeTime:
    """Replaces the `time` module: `sleep` advances the clock."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class InlinePool:
    """Replaces the thread pool, so that Killed ends its work too: threads would continue."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, act: Callable[..., Any], many: Sequence[Any]) -> Iterator[Any]:
        return map(act, many)
