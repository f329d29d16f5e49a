"""Live logs on the deployed stack: what functions write arrives at those who look."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from e2e.deployed import PROJECT, Deployed
from e2e.people import Tenant, hire, open_tenant
from e2e.services import Function, listed, the_operator, until
from e2e.viewers import LARGEST_FRAME, Viewer, opened, refused

CODE = """
def handler(event, context):
    for line in event["lines"]:
        print(line)
"""
POLLED_FOR = 75.0  # seconds in which a new filter proves itself, the last catching-up included
MINUTE = 60.0


class Talker(Function):
    """A function that logs what it is told to."""

    def __init__(self, stack: Deployed) -> None:
        super().__init__(stack, code=CODE)
        self.logs = stack.client("logs")
        self.group = f"/aws/lambda/{self.name}"

    def says(self, *lines: str) -> None:
        """Log lines, in one call."""
        assert self.invoke(lines=list(lines)) is None

    def filters(self) -> list[str]:
        """Name the subscription filters of its group."""
        found = self.logs.describe_subscription_filters(logGroupName=self.group)
        return [one["filterName"] for one in found["subscriptionFilters"]]


class Stream:
    """A log stream that is written to line by line."""

    def __init__(self, talker: Talker) -> None:
        self._logs, self._group = talker.logs, talker.group
        self._name = uuid.uuid4().hex
        self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._name)

    def write(self, *lines: str) -> None:
        """Write lines of this moment."""
        now = time.time_ns() // 1_000_000
        self._logs.put_log_events(
            logGroupName=self._group,
            logStreamName=self._name,
            logEvents=[{"timestamp": now, "message": line} for line in lines],
        )


@pytest.fixture(scope="module")
def operator(stack: Deployed) -> Tenant:
    return the_operator(stack)


@pytest.fixture(scope="module")
def talker(stack: Deployed, operator: Tenant) -> Iterator[Talker]:
    made = Talker(stack)
    made.says("hello")
    until(lambda: made.service in listed(operator), "found by its tag")
    yield made
    made.client.delete_function(FunctionName=made.name)


@dataclass
class Watched:
    """A group that somebody looked at once, and when its filter came and went."""

    left_at: float = 0.0
    had_filter: list[float] = field(default_factory=list)
    gone_at: float | None = None


@pytest.fixture(scope="module")
def watched(stack: Deployed, operator: Tenant) -> Iterator[Watched]:
    """Look for a moment, leave, and see for minutes what becomes of the filter."""
    made = Talker(stack)
    made.says("hello")
    until(lambda: made.service in listed(operator), "found by its tag")
    seen = Watched()
    with Viewer(stack, made.service) as viewer:
        viewer.wait_for_backlog()
        assert len(made.filters()) == 1
    seen.left_at = time.monotonic()

    def look() -> None:
        while time.monotonic() - seen.left_at < 6 * MINUTE:
            if not made.filters():
                seen.gone_at = time.monotonic()
                return
            seen.had_filter.append(time.monotonic())
            time.sleep(1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield seen
    thread.join(7 * MINUTE)
    made.client.delete_function(FunctionName=made.name)


@pytest.mark.usefixtures("watched")
def test_a_line_reaches_every_viewer_its_backlog_first(stack: Deployed, talker: Talker) -> None:
    old, new = f"old {uuid.uuid4().hex}", f"new {uuid.uuid4().hex}"
    talker.says(old)
    with Viewer(stack, talker.service) as one, Viewer(stack, talker.service, lines=50) as other:
        for viewer in (one, other):
            viewer.wait_for(old)
        talker.says(new)
        for viewer in (one, other):
            viewer.wait_for(new)
            said = viewer.messages()
            assert said.index(old) < said.index(new)
            assert {frame["service"] for frame in viewer.frames if frame["type"] == "log"} == {
                talker.service
            }
        ids = [
            {line["id"] for line in viewer.lines() if line["message"] in {old, new}}
            for viewer in (one, other)
        ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 2
    # Read again, by a search and no push, they are the same lines.
    with Viewer(stack, talker.service) as later:
        later.wait_for(old, new)
        assert {line["id"] for line in later.lines() if line["message"] in {old, new}} == ids[0]


def test_lines_of_a_stream_keep_their_order(stack: Deployed, talker: Talker) -> None:
    lines = [f"{number:03d} {uuid.uuid4().hex}" for number in range(200)]
    with Viewer(stack, talker.service, lines=0).wait_for_backlog() as viewer:
        assert viewer.lines() == []
        talker.says(*lines)
        viewer.wait_for(lines[-1])
        said = viewer.messages()
    assert [line for line in said if line in set(lines)] == lines


def test_the_backlog_is_as_long_as_asked(stack: Deployed, talker: Talker) -> None:
    lines = [f"{number:03d} {uuid.uuid4().hex}" for number in range(40)]
    stream = Stream(talker)
    for line in lines:
        stream.write(line)
    with Viewer(stack, talker.service, lines=25).wait_for_backlog() as viewer:
        assert viewer.messages() == lines[-25:]


def test_resumed_after_a_cut_nothing_is_missing(stack: Deployed, talker: Talker) -> None:
    stream = Stream(talker)
    lines = [f"{number:03d} {uuid.uuid4().hex}" for number in range(60)]

    def write() -> None:
        for line in lines:
            stream.write(line)
            # Each is a call of the relay, which on the engine may be a process of its own.
            time.sleep(0.25)

    got: dict[str, str] = {}
    with ThreadPoolExecutor(1) as pool:
        with Viewer(stack, talker.service).wait_for_backlog() as viewer:
            writing = pool.submit(write)
            viewer.wait_for(lines[12], within=MINUTE)
            got |= {line["id"]: line["message"] for line in viewer.lines()}
            last = viewer.lines()[-1]
        time.sleep(1)  # lines that nobody sees
        with Viewer(stack, talker.service, since=last["id"]) as viewer:
            viewer.wait_for(lines[40], within=MINUTE)
            got |= {line["id"]: line["message"] for line in viewer.lines()}
            last = viewer.lines()[-1]
        with Viewer(stack, talker.service, since=last["timestamp"]) as viewer:
            writing.result()
            viewer.wait_for(lines[-1], within=MINUTE)
            viewer.wait(lambda one: set(lines) <= {*got.values(), *one.messages()}, within=MINUTE)
            got |= {line["id"]: line["message"] for line in viewer.lines()}
    assert set(lines) <= set(got.values())


def test_long_and_binary_lines_survive(stack: Deployed, talker: Talker) -> None:
    stream = Stream(talker)
    long = "".join(f"{number:07d}" for number in range(30_000))
    strange = 'nul \x00 bell \x07 escape \x1b[31m quote " back \\ € 😀 \u2028 end'
    with Viewer(stack, talker.service, lines=0).wait_for_backlog() as viewer:
        stream.write(long)
        stream.write(strange)
        viewer.wait_for(strange)
        viewer.wait(all_there, within=MINUTE)
        parts = parts_of(viewer)
        assert max(viewer.sizes) <= LARGEST_FRAME
    assert [line["part"] for line in parts] == list(range(1, len(parts) + 1))
    assert "".join(line["message"] for line in parts) == long


def all_there(viewer: Viewer) -> bool:
    """Tell whether every part of the divided line has come."""
    parts = parts_of(viewer)
    return bool(parts) and len(parts) == parts[0]["parts"]


def parts_of(viewer: Viewer) -> list[dict[str, Any]]:
    """Give the parts of the one divided line in their order."""
    parts = {line["id"]: line for line in viewer.lines() if "part" in line}
    return sorted(parts.values(), key=lambda line: line["part"])


def test_fifty_viewers_see_a_line_and_a_slow_one_holds_up_nobody(
    stack: Deployed, talker: Talker
) -> None:
    line = f"for all {uuid.uuid4().hex}"
    with ExitStack() as closing:
        # It never reads: what is sent to it piles up on its side.
        closing.enter_context(opened(stack, talker.service, key=stack.admin_key, lines=0))
        with ThreadPoolExecutor(10) as pool:
            viewers = list(pool.map(lambda _: Viewer(stack, talker.service, lines=0), range(50)))
        for viewer in viewers:
            closing.enter_context(viewer)
            viewer.wait_for_backlog()
        began = time.monotonic()
        talker.says("x" * 20_000, line)
        for viewer in viewers:
            viewer.wait_for(line)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", ["token", "access_token", "api_key"])
def test_a_key_may_come_in_the_address(stack: Deployed, talker: Talker, name: str) -> None:
    with opened(stack, talker.service, key=None, lines=0, **{name: stack.admin_key}) as socket:
        assert json.loads(socket.recv(timeout=20))["type"] == "log"


def test_who_may_not_look_is_refused_before_the_upgrade(
    stack: Deployed, operator: Tenant, talker: Talker
) -> None:
    stranger = open_tenant(stack)
    narrow = operator.make_key(scopes=["agents:read"])["key"]
    member = hire(operator)
    assert refused(stack, talker.service, key=None) in {401, 403}
    assert refused(stack, talker.service, key="hk_nonsense") in {401, 403}
    assert refused(stack, talker.service, key=narrow) == 403
    assert refused(stack, talker.service, key=member) == 403
    assert refused(stack, talker.service, key=stranger.key) == 404
    assert refused(stack, "nobody", key=stack.admin_key) == 404
    assert refused(stack, "Not-A-Name", key=stack.admin_key) == 400
    assert refused(stack, talker.service, key=stack.admin_key, lines=1001) == 400
    assert refused(stack, talker.service, key=stack.admin_key, since="yesterday") == 400
    # A wrong key in a header decides, whatever the address says.
    assert refused(stack, talker.service, key="hk_nonsense", token=stack.admin_key) in {401, 403}


def test_a_plain_request_is_told_to_upgrade(
    stack: Deployed, operator: Tenant, talker: Talker
) -> None:
    path = f"/api/services/{talker.service}/logs"
    answer = operator.call("GET", path)
    assert (answer.status_code, answer.json()["status"]) == (426, 426)
    assert open_tenant(stack).call("GET", path).status_code == 404
    assert operator.call("GET", "/api/services/nobody/logs").status_code == 404


def test_what_runs_on_a_line_s_way_is_no_log_source(stack: Deployed) -> None:
    for name in ("gatehouse-log-relay", "gatehouse-sockets", "gatehouse-sweeper"):
        assert refused(stack, name, key=stack.admin_key) == 404


def test_a_registered_service_s_log_group_can_be_watched(
    stack: Deployed, operator: Tenant, talker: Talker
) -> None:
    name, group = f"app-{uuid.uuid4().hex[:8]}", f"/app/{uuid.uuid4().hex}"
    talker.logs.create_log_group(logGroupName=group, tags={"gatehouse:service": name})
    body = {"name": name, "healthUrl": "http://127.0.0.1:9000", "logGroup": group}
    made = operator.call("POST", "/api/services", json=body)
    assert made.status_code == 201, made.text
    with Viewer(stack, name).wait_for_backlog() as viewer:
        talker.logs.create_log_stream(logGroupName=group, logStreamName="one")
        moment = time.time_ns() // 1_000_000
        talker.logs.put_log_events(
            logGroupName=group,
            logStreamName="one",
            logEvents=[{"timestamp": moment, "message": "up"}],
        )
        viewer.wait_for("up")
    assert operator.call("DELETE", f"/api/services/{name}").status_code == 204


def test_the_command_and_the_page_s_client_print_lines(stack: Deployed, talker: Talker) -> None:
    page = (PROJECT / "docs" / "logs.md").read_text()
    (client,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    line = f"for the terminal {uuid.uuid4().hex}"
    talker.says(line)
    for words in (
        [str(Path(sys.executable).with_name("gatehouse")), "logs", talker.service],
        [sys.executable, "-u", "-c", client.replace("gatehouse-keys-services", talker.service)],
    ):
        with subprocess.Popen(
            words,
            env=os.environ | {"GATEHOUSE_URL": stack.url, "GATEHOUSE_API_KEY": stack.admin_key},
            stdout=subprocess.PIPE,
            text=True,
        ) as shown:
            assert shown.stdout
            until_then = (text for text in shown.stdout if line in text)
            assert next(until_then).startswith(f"{datetime.now(UTC):%Y-}")
            shown.terminate()


def test_a_revoked_key_s_socket_is_closed_within_a_minute(
    stack: Deployed, operator: Tenant, talker: Talker
) -> None:
    made = operator.make_key(scopes=["services:read"])
    with (
        Viewer(stack, talker.service, key=made["key"]).wait_for_backlog() as ended,
        Viewer(stack, talker.service).wait_for_backlog() as other,
    ):
        revoked = operator.call("DELETE", f"/v1/api-keys/{made['id']}")
        assert revoked.is_success, revoked.text
        assert ended.ended.wait(MINUTE + 15), "the sweeper comes each minute"
        assert ended.frames[-1]["type"] == "exit"
        assert "key" in ended.frames[-1]["reason"]
        line = f"still here {uuid.uuid4().hex}"
        talker.says(line)
        other.wait_for(line)
        assert not ended.messages()[-1].endswith(line)


@pytest.mark.timeout(900)
def test_a_quiet_minute_of_everybody_s_logs_invokes_the_relay_not_once(
    stack: Deployed, operator: Tenant
) -> None:
    with ExitStack() as closing:
        # The authorizer's lines say that somebody asked for a socket, so it goes first.
        names = sorted(
            (name for name in listed(operator) if name.startswith("gatehouse-")),
            key=lambda name: name != "gatehouse-authorizer",
        )
        watched = [name for name in names if refused(stack, name, key=stack.admin_key) == 101]
        assert len(watched) >= 15
        viewers = [
            closing.enter_context(Viewer(stack, name, lines=0)).wait_for_backlog()
            for name in watched
        ]
        time.sleep(POLLED_FOR)
        assert calls_in_a_quiet_minute(stack, viewers) == 0


def calls_in_a_quiet_minute(stack: Deployed, viewers: list[Viewer]) -> int:
    """Count the relay's calls in a minute in which no service wrote a line.

    Retries of other tests' deliveries write some; a relay that fed itself would write in each.
    """
    logs = stack.client("logs")
    relay = stack.client("cloudformation").describe_stack_resource(
        StackName="gatehouse", LogicalResourceId="LogRelayLogGroup"
    )["StackResourceDetail"]["PhysicalResourceId"]

    def calls() -> int:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=relay, filterPattern="START"
        )
        return sum(len(page["events"]) for page in pages)

    def heard() -> int:
        return sum(len(viewer.lines()) for viewer in viewers)

    for _ in range(8):
        lines = heard()
        time.sleep(3)  # what sent the last of them has ended
        before = calls()
        time.sleep(MINUTE)
        made = calls() - before
        if heard() == lines:
            return made
    pytest.fail("no minute was quiet")


def test_the_filter_goes_minutes_after_the_last_viewer(watched: Watched) -> None:
    until_gone = time.monotonic() + 5 * MINUTE
    while watched.gone_at is None and time.monotonic() < until_gone:
        time.sleep(1)
    assert watched.gone_at is not None
    assert watched.had_filter[-1] - watched.left_at >= 2 * MINUTE - 5
    assert watched.gone_at - watched.left_at <= 4 * MINUTE + 5
