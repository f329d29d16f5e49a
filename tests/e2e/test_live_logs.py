"""Live logs on the deployed stack: lines that functions write arrive at their viewers.

What takes minutes is in test_delays, and what needs a silent stack in test_alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from support.actors.deployed_function import wait_until_listed
from support.actors.deployed_tenant import Tenant, add_member, open_tenant, the_operator
from support.actors.log_viewer import LARGEST_FRAME, Viewer, connect_viewer, upgrade_status
from support.actors.log_writer import LogStream, LogWriter
from support.worlds.deployed_stack import PROJECT, Deployed, command

MINUTE = 60.0


@pytest.fixture(scope="module")
def operator(stack: Deployed) -> Tenant:
    return the_operator(stack)


@pytest.fixture(scope="module")
def writer(stack: Deployed, operator: Tenant) -> Iterator[LogWriter]:
    made = LogWriter(stack)
    wait_until_listed(operator, made.service)
    yield made
    made.delete()


def test_each_viewer_gets_the_backlog_and_then_the_new_lines(
    stack: Deployed, writer: LogWriter
) -> None:
    old, new = f"old {uuid.uuid4().hex}", f"new {uuid.uuid4().hex}"
    writer.write(old)
    with Viewer(stack, writer.service) as one, Viewer(stack, writer.service, lines=50) as other:
        for viewer in (one, other):
            viewer.wait_for(old)
        writer.write(new)
        for viewer in (one, other):
            viewer.wait_for(new)
            messages = viewer.messages()
            assert messages.index(old) < messages.index(new)
            assert {frame["service"] for frame in viewer.frames if frame["type"] == "log"} == {
                writer.service
            }
        ids = [
            {line["id"] for line in viewer.lines() if line["message"] in {old, new}}
            for viewer in (one, other)
        ]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 2
    # A later viewer gets them from a search instead of a push, with the same ids.
    with Viewer(stack, writer.service) as later:
        later.wait_for(old, new)
        assert {line["id"] for line in later.lines() if line["message"] in {old, new}} == ids[0]


def test_lines_of_a_stream_arrive_in_their_order(stack: Deployed, writer: LogWriter) -> None:
    lines = [f"{number:03d} {uuid.uuid4().hex}" for number in range(200)]
    with Viewer(stack, writer.service, lines=0).wait_for_backlog() as viewer:
        assert viewer.lines() == []
        writer.write(*lines)
        viewer.wait_for(lines[-1])
        messages = viewer.messages()
    assert [line for line in messages if line in set(lines)] == lines


def test_the_backlog_has_as_many_lines_as_requested(stack: Deployed, writer: LogWriter) -> None:
    lines = [f"{number:03d} {uuid.uuid4().hex}" for number in range(20)]
    stream = LogStream(writer)
    for line in lines:
        stream.write(line)
    with Viewer(stack, writer.service, lines=15).wait_for_backlog() as viewer:
        assert viewer.messages() == lines[-15:]


def test_a_viewer_that_resumes_misses_no_line(stack: Deployed, writer: LogWriter) -> None:
    stream = LogStream(writer)
    lines = [f"{number:03d} {uuid.uuid4().hex}" for number in range(30)]

    def write() -> None:
        for line in lines:
            stream.write(line)
            # Each line is a call of the relay, and on the engine perhaps a process of its own.
            time.sleep(0.4)

    received: dict[str, str] = {}
    with ThreadPoolExecutor(1) as pool:
        with Viewer(stack, writer.service).wait_for_backlog() as viewer:
            writing = pool.submit(write)
            viewer.wait_for(lines[6], within=MINUTE)
            received |= {line["id"]: line["message"] for line in viewer.lines()}
            last = viewer.lines()[-1]
        time.sleep(1)  # nobody looks while these lines are written
        with Viewer(stack, writer.service, since=last["id"]) as viewer:
            viewer.wait_for(lines[20], within=MINUTE)
            received |= {line["id"]: line["message"] for line in viewer.lines()}
            last = viewer.lines()[-1]
        with Viewer(stack, writer.service, since=last["timestamp"]) as viewer:
            writing.result()
            viewer.wait_for(lines[-1], within=MINUTE)
            viewer.wait(
                lambda one: set(lines) <= {*received.values(), *one.messages()}, within=MINUTE
            )
            received |= {line["id"]: line["message"] for line in viewer.lines()}
    assert set(lines) <= set(received.values())


def test_long_and_binary_lines_arrive_whole(stack: Deployed, writer: LogWriter) -> None:
    stream = LogStream(writer)
    long = "".join(f"{number:07d}" for number in range(30_000))
    strange = 'nul \x00 bell \x07 escape \x1b[31m quote " back \\ € 😀 \u2028 end'
    with Viewer(stack, writer.service, lines=0).wait_for_backlog() as viewer:
        stream.write(long)
        stream.write(strange)
        viewer.wait_for(strange)
        viewer.wait(has_each_part, within=MINUTE)
        parts = parts_of(viewer)
        assert max(viewer.sizes) <= LARGEST_FRAME
    assert [line["part"] for line in parts] == list(range(1, len(parts) + 1))
    assert "".join(line["message"] for line in parts) == long


def has_each_part(viewer: Viewer) -> bool:
    """Return whether each part of the divided line has arrived."""
    parts = parts_of(viewer)
    return bool(parts) and len(parts) == parts[0]["parts"]


def parts_of(viewer: Viewer) -> list[dict[str, Any]]:
    """Return the parts of the one divided line in their order."""
    parts = {line["id"]: line for line in viewer.lines() if "part" in line}
    return sorted(parts.values(), key=lambda line: line["part"])


def test_a_viewer_that_does_not_read_delays_no_other(stack: Deployed, writer: LogWriter) -> None:
    line = f"for all {uuid.uuid4().hex}"
    with ExitStack() as closing:
        # This one never reads: what is sent to it fills its buffers.
        closing.enter_context(connect_viewer(stack, writer.service, key=stack.admin_key, lines=0))
        with ThreadPoolExecutor(5) as pool:
            viewers = list(pool.map(lambda _: Viewer(stack, writer.service, lines=0), range(20)))
        for viewer in viewers:
            closing.enter_context(viewer)
            viewer.wait_for_backlog()
        began = time.monotonic()
        writer.write("x" * 20_000, line)
        for viewer in viewers:
            viewer.wait_for(line)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", ["token", "access_token", "api_key"])
def test_a_socket_s_key_may_be_in_its_address(
    stack: Deployed, writer: LogWriter, name: str
) -> None:
    query = {name: stack.admin_key}
    with connect_viewer(stack, writer.service, key=None, lines=0, **query) as socket:
        assert json.loads(socket.recv(timeout=20))["type"] == "log"


def test_each_refusal_comes_before_the_upgrade(
    stack: Deployed, operator: Tenant, writer: LogWriter
) -> None:
    stranger = open_tenant(stack)
    narrow = operator.make_key(scopes=["agents:read"])["key"]
    member = add_member(operator)
    admin = stack.admin_key
    assert upgrade_status(stack, writer.service, key=None) in {401, 403}
    assert upgrade_status(stack, writer.service, key="hk_nonsense") in {401, 403}
    assert upgrade_status(stack, writer.service, key=narrow) == 403
    assert upgrade_status(stack, writer.service, key=member) == 403
    assert upgrade_status(stack, writer.service, key=stranger.key) == 404
    assert upgrade_status(stack, "nobody", key=admin) == 404
    assert upgrade_status(stack, "Not-A-Name", key=admin) == 400
    assert upgrade_status(stack, writer.service, key=admin, lines=1001) == 400
    assert upgrade_status(stack, writer.service, key=admin, since="yesterday") == 400
    # A wrong key in a header decides, even with a right one in the address.
    assert upgrade_status(stack, writer.service, key="hk_nonsense", token=admin) in {401, 403}


def test_a_request_without_an_upgrade_is_426(
    stack: Deployed, operator: Tenant, writer: LogWriter
) -> None:
    path = f"/api/services/{writer.service}/logs"
    answer = operator.call("GET", path)
    assert (answer.status_code, answer.json()["status"]) == (426, 426)
    assert open_tenant(stack).call("GET", path).status_code == 404
    assert operator.call("GET", "/api/services/nobody/logs").status_code == 404


def test_the_functions_that_relay_lines_have_no_live_logs(stack: Deployed) -> None:
    for name in ("gatehouse-log-relay", "gatehouse-sockets", "gatehouse-sweeper"):
        assert upgrade_status(stack, name, key=stack.admin_key) == 404


def test_the_log_group_of_a_registered_service_has_live_logs(
    stack: Deployed, operator: Tenant, writer: LogWriter
) -> None:
    name, group = f"app-{uuid.uuid4().hex[:8]}", f"/app/{uuid.uuid4().hex}"
    writer.logs.create_log_group(logGroupName=group, tags={"gatehouse:service": name})
    body = {"name": name, "healthUrl": "http://127.0.0.1:9000", "logGroup": group}
    made = operator.call("POST", "/api/services", json=body)
    assert made.status_code == 201, made.text
    with Viewer(stack, name).wait_for_backlog() as viewer:
        writer.logs.create_log_stream(logGroupName=group, logStreamName="one")
        now = time.time_ns() // 1_000_000
        writer.logs.put_log_events(
            logGroupName=group,
            logStreamName="one",
            logEvents=[{"timestamp": now, "message": "up"}],
        )
        viewer.wait_for("up")
    assert operator.call("DELETE", f"/api/services/{name}").status_code == 204


def test_the_command_and_the_documented_client_print_lines(
    stack: Deployed, writer: LogWriter
) -> None:
    page = (PROJECT / "docs" / "logs.md").read_text()
    (client,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    line = f"for the terminal {uuid.uuid4().hex}"
    writer.write(line)
    for arguments in (
        [command("gatehouse"), "logs", writer.service],
        [sys.executable, "-u", "-c", client.replace("gatehouse-keys-services", writer.service)],
    ):
        with subprocess.Popen(
            arguments,
            env=os.environ | {"GATEHOUSE_URL": stack.url, "GATEHOUSE_API_KEY": stack.admin_key},
            stdout=subprocess.PIPE,
            text=True,
        ) as printing:
            assert printing.stdout
            with_the_line = (text for text in printing.stdout if line in text)
            assert next(with_the_line).startswith(f"{datetime.now(UTC):%Y-}")
            printing.terminate()
