"""Live logs with the real rooms, tables in memory, moto's queue and CloudWatch Logs, a held clock.

Simulated here, since moto lacks them: sockets that disappear, searches that lag, and pushes (moto
would start a container for each). Writes, pushes and retries take as long as those of CloudWatch,
SQS and Lambda.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest
from moto.awslambda.models import LambdaFunction
from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs import logs_backends
from moto.sqs import sqs_backends

from gatehouse.aws import clients, control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.aws.queue import Queue
from gatehouse.core import retry
from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.core.errors import GatehouseError
from gatehouse.core.grants import Grants
from gatehouse.core.request import Call
from gatehouse.credentials import writes as credentials
from gatehouse.credentials.model import Code, Credential, Owner, Verdict
from gatehouse.dynamo.table import Tables, transact
from gatehouse.logs import actions, broadcast, message_rules, relay, sweep, watch_store
from gatehouse.logs.adapters.sockets import Sockets
from gatehouse.logs.broadcast import Relay
from gatehouse.logs.model import Watch
from gatehouse.logs.sweep import LogSweep
from support.aws.faults import Killed, KillSwitch, wire
from support.checks.inspection import items
from support.worlds.held_clock import HeldClock
from support.worlds.live_logs_outside import (
    CloudWatch,
    FakeTime,
    InlinePool,
    OpenSockets,
    TaskQueue,
)
from support.worlds.workloads import zipped

REGION = "us-east-1"
ACCOUNT = "0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e"
VISIBLE_AGAIN = 360  # seconds until SQS repeats a failed task
PUSH_RETRY = 60  # seconds until Lambda retries a failed push; twice as many the second time


class LiveLogs:
    """A log group, its viewers, and the work in progress: tasks, pushes and sweeps."""

    def __init__(
        self, tables: Tables, held: HeldClock, patch: pytest.MonkeyPatch, own_arn: str
    ) -> None:
        self.tables, self.table, self.held = tables, tables.main, held
        self.kill_switch = KillSwitch(armed=False)
        self.open_sockets = OpenSockets(self.kill_switch)
        self.cloudwatch = CloudWatch(self)
        name = uuid.uuid4().hex
        self.queue = Queue(clients.sqs().create_queue(QueueName=name)["QueueUrl"], clients.sqs())
        self.sent = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].get_queue(name)._messages  # noqa: SLF001
        self.tasks: list[tuple[Micros, str]] = []
        self.pushes: list[tuple[Micros, int, str]] = []  # (due at, failures, data)
        self.swept_at = held.at
        self.sweeps = True
        self.written_at: dict[str, Micros] = {}
        self.written: dict[str, list[str]] = {}  # by stream
        self.push_takes = 1.0
        self.filter_takes = 0.0
        self.relay = Relay(
            table=self.table,
            queue=TaskQueue(self),  # type: ignore[arg-type]
            sockets=Sockets(self.open_sockets),  # type: ignore[arg-type]
            logs=self.cloudwatch,  # type: ignore[arg-type]
            now=held,
            own_arn=own_arn,
            own_group="/aws/lambda/the-relay",
        )
        self.key = self.make_key()
        self.time = FakeTime()
        for module in (broadcast, retry):
            patch.setattr(module, "time", self.time)
        for module in (broadcast, sweep):
            patch.setattr(module, "ThreadPoolExecutor", InlinePool)
        patch.setattr(LambdaFunction, "invoke", self._pushed)
        self.use_service("orders")

    # ---- Groups, keys, lines -------------------------------------------------------------------

    def use_service(self, service: str) -> None:
        """Create another service and its log group, and use them from now on."""
        self.service, self.group = service, f"/app/{service}/{uuid.uuid4().hex}"
        self.written, self.written_at = {}, {}
        self._streams: set[str] = set()
        self.cloudwatch._real.create_log_group(logGroupName=self.group)  # noqa: SLF001
        self.table.insert(
            {
                "pk": f"SERVICE#{ACCOUNT}",
                "sk": service,
                "health_url": "http://127.0.0.1:9",
                "created_by": "identity:the-one-who-registered-it",
                "created_by_key": "api_key:of-theirs",
                "restart_url": "",
                "log_group": self.group,
                "created_at": self.held.at,
            }
        )

    def make_key(self, account: str = ACCOUNT) -> Credential:
        """Create a key of an admin."""
        known = Credential(
            digest=uuid.uuid4().hex,
            key_id=str(uuid.uuid4()),
            account_id=account,
            key_prefix="hk_0000",
            owner=Owner(str(uuid.uuid4()), is_admin=True, claw_type="central", membership="active"),
            grants=Grants(scopes=("services:read",)),
            operator=False,
        )
        transact(self.tables.keys.client, [credentials.create(self.tables.keys, known)])
        return known

    def write(self, *messages: str, stream: str = "a", at: int | None = None) -> None:
        """Write lines to a stream, dated now or `at` (milliseconds since 1970)."""
        if stream not in self._streams:
            self._streams.add(stream)
            self.cloudwatch._real.create_log_stream(  # noqa: SLF001
                logGroupName=self.group, logStreamName=stream
            )
        moment = self.held.at // 1000 if at is None else at
        self.written.setdefault(stream, []).extend(messages)
        self.written_at |= dict.fromkeys(messages, self.held.at)
        # Straight to moto's backend: an application writes the lines, and a request costs time.
        _, rejected = logs_backends[DEFAULT_ACCOUNT_ID][REGION].put_log_events(
            self.group, stream, [{"timestamp": moment, "message": one} for one in messages]
        )
        assert not rejected

    def _pushed(self, body: str, *_: Any) -> None:
        """Receive what a subscription filter sends to its function, once the filter is active."""
        data = json.loads(body)["awslogs"]["data"]
        pushed = message_rules.parse_push(data)
        assert pushed is not None
        active_at = self.cloudwatch.put_at[pushed.filters[0]] + self.filter_takes * SECOND
        if self.held.at >= active_at:
            self.pushes.append((self.held.at + round(self.push_takes * SECOND), 0, data))

    # ---- Viewers ------------------------------------------------------------------------------

    def connect(
        self,
        name: str,
        *,
        key: Credential | None = None,
        lines: int | None = None,
        since: str | None = None,
    ) -> None:
        """Open a socket, as API Gateway and its function do."""
        known = key or self.key
        count = None if lines is None else str(lines)
        call = Call("r", self.held.at, Verdict(Code.VALID, known).principal())
        actions.connect(
            self.table,
            call,
            Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs),
            self.relay.queue,
            connection=name,
            digest=known.digest,
            service=self.service,
            backlog=actions.parse_backlog_request(lines=count, since=since),
        )
        self.open_sockets.open[name] = []

    def disconnect(self, name: str) -> None:
        """Close a socket, as a viewer does."""
        self.open_sockets.open.pop(name, None)
        actions.disconnect(self.table, connection=name, now=self.held.at)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """List every line that a viewer received, repeats included."""
        return [line for frame in self.open_sockets.open[name] for line in frame.get("lines", ())]

    def messages(self, name: str) -> list[str]:
        """List the messages that a viewer received, each line once."""
        return list({line["id"]: line["message"] for line in self.lines(name)}.values())

    # ---- Work in progress ----------------------------------------------------------------------

    def run(self, seconds: float = 0) -> None:
        """Advance the clock, and do the tasks, pushes and sweeps that fall due."""
        until = self.held.at + round(seconds * SECOND)
        while True:
            due = [(at, self._take) for at, _ in self.tasks]
            due += [(at, self._push) for at, _, _ in self.pushes]
            if self.sweeps:
                due.append((self.swept_at + MINUTE, self._sweep))
            due = [one for one in due if one[0] <= until]
            if not due:
                break
            at, act = min(due, key=lambda one: one[0])
            self.held.at = max(self.held.at, at)
            with suppress(Killed, GatehouseError, control_plane.ControlPlaneError):
                act()
        self.held.at = until

    def take(self) -> int:
        """Do the next task. A task that fails is repeated later."""
        self.tasks.sort()
        _, body = self.tasks.pop(0)
        try:
            return relay.work(self.relay, relay.parse_task(body))
        except BaseException:
            self.tasks.append((self.held.at + VISIBLE_AGAIN * SECOND, body))
            raise

    def push(self) -> int:
        """Handle the next push. A push that fails is retried twice."""
        self.pushes.sort()
        _, tries, data = self.pushes.pop(0)
        pushed = relay.parse_push(data)
        assert pushed is not None
        try:
            return relay.push(self.relay, pushed)
        except BaseException:
            if tries < 2:
                again = self.held.at + PUSH_RETRY * (tries + 1) * SECOND
                self.pushes.append((again, tries + 1, data))
            raise

    def sweep(self) -> LogSweep:
        """Sweep once."""
        self.swept_at = self.held.at
        return sweep.sweep(self.tables, self.relay)

    def _take(self) -> None:
        self.take()

    def _push(self) -> None:
        self.push()

    def _sweep(self) -> None:
        self.sweep()

    # ---- State and checks ----------------------------------------------------------------------

    def watch(self) -> Watch | None:
        """Read the group's watch, or None."""
        return watch_store.find(self.table, self.group)

    def filters(self) -> list[str]:
        """List the names of the group's subscription filters."""
        found = self.cloudwatch._real.describe_subscription_filters(  # noqa: SLF001
            logGroupName=self.group
        )
        return [one["filterName"] for one in found["subscriptionFilters"]]

    def remaining_items(self) -> list[dict[str, Any]]:
        """List the items that remain, without accounts' zero counts and items that expire."""
        return [
            item
            for item in self.all_items()
            if "ttl" not in item and not (item["pk"].startswith("VIEWING#") and not item["viewers"])
        ]

    def all_items(self) -> list[dict[str, Any]]:
        """List the table's items of live logs."""
        kinds = ("WATCHED", "VIEWERS#", "CONN#", "VIEWING#", "HELD#")
        return [item for item in items(self.table) if item["pk"].startswith(kinds)]

    def counts(self) -> tuple[int, int]:
        """Return the stored counts of viewers: of the group, and of the account."""
        watch = self.watch()
        account = self.table.get({"pk": f"VIEWING#{ACCOUNT}", "sk": "COUNT"})
        return (watch.viewers if watch else 0), (account["viewers"] if account else 0)

    def check(self, name: str, *, first: str | None = None) -> None:
        """Assert that a viewer has every line (from `first` on), in each stream's order."""
        got = self.messages(name)
        for stream, written in self.written.items():
            expected = written if first is None else written[written.index(first) :]
            assert [one for one in got if one in set(expected)] == expected, stream


@pytest.fixture(scope="module")
def relay_arn(aws: pytest.MonkeyPatch) -> str:
    """The ARN of the relay's function on moto, created once per test file because it is slow."""
    del aws
    client = boto3.client("lambda")
    name = f"relay-{uuid.uuid4().hex}"
    policy = '{"Version": "2012-10-17", "Statement": []}'
    role = boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)
    made = client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler="handler.handler",
        Code={"ZipFile": zipped()},
    )
    return str(made["FunctionArn"])


@pytest.fixture
def live_logs(
    tables: Tables, held: HeldClock, monkeypatch: pytest.MonkeyPatch, relay_arn: str
) -> Iterator[LiveLogs]:
    """A log group on moto without viewers."""
    found = LiveLogs(tables, held, monkeypatch, relay_arn)
    with wire(found.table.client) as line:
        line.before, line.after = found.kill_switch.before, found.kill_switch.after
        yield found
