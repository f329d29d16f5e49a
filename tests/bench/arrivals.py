"""Measure end to end on a stack in the local engine: signals, log lines, lists of services."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from gatehouse_cli.local.folder import LocalFolder
from support.actors.deployed_function import Function, listed, until
from support.actors.deployed_tenant import open_tenant, the_operator
from support.actors.http_receiver import Receiver
from support.actors.log_viewer import Viewer
from support.worlds.deployed_stack import Deployed, deployed

_WARM = 5


@contextmanager
def stack() -> Iterator[Deployed]:
    """Deploy the real template into a folder that is deleted afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as folder,
        deployed(LocalFolder(Path(folder) / "home")) as up,
    ):
        yield up


def signals(stack: Deployed, count: int) -> list[float]:
    """Return for each of `count` signals the ms from sending POST /emit to the receiver's request.

    The first few start the functions and do not count.
    """
    tenant = open_tenant(stack)
    headers = {"Authorization": f"Bearer {tenant.key}"}
    with (
        Receiver() as receiver,
        # One connection, as a client keeps it.
        httpx.Client(base_url=stack.url, headers=headers, trust_env=False, timeout=60) as client,
    ):
        client.post("/admin/webhooks", json={"url": receiver.url("/in")}).raise_for_status()
        took = []
        for number in range(_WARM + count):
            began = time.time()
            body = {"signal_type": "pulse", "content": str(number)}
            client.post("/emit", json=body).raise_for_status()
            arrived = receiver.wait_for(number + 1)[number]
            took.append((arrived.at - began) * 1_000)
        return took[_WARM:]


def lines(stack: Deployed, count: int) -> list[float]:
    """Return for each of `count` log lines the ms from writing it to its frame at the viewer."""
    function = Function(stack)
    function.invoke()
    operator = the_operator(stack)
    until(lambda: function.service in listed(operator), "not found by its tag")
    logs, group = stack.client("logs"), f"/aws/lambda/{function.name}"
    logs.create_log_stream(logGroupName=group, logStreamName="bench")
    took = []
    with Viewer(stack, function.service, lines=0).wait_for_backlog() as viewer:
        for number in range(_WARM + count):
            line = f"{number} {uuid.uuid4().hex}"
            began = time.time()
            event = {"timestamp": int(began * 1_000), "message": line}
            logs.put_log_events(logGroupName=group, logStreamName="bench", logEvents=[event])
            viewer.wait_for(line)
            took.append((time.time() - began) * 1_000)
    return took[_WARM:]


def lists(stack: Deployed, services: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return the ms of lists of so many HTTP services: with checks due, and with fresh checks."""
    tenant = open_tenant(stack)
    with Receiver() as receiver:
        for number in range(services):
            body = {"name": f"service-{number}", "healthUrl": receiver.url(f"/{number}")}
            tenant.call("POST", "/api/services", json=body).raise_for_status()
        due, fresh = [], []
        for _ in range(rounds):
            time.sleep(31)  # until every check is due again
            for took in (due, fresh):
                began = time.time()
                answer = tenant.call("GET", "/api/services/list")
                took.append((time.time() - began) * 1_000)
                assert len(answer.json()) == services
    return due, fresh
