"""The deployed stack that the end-to-end tests call over HTTP, with IAM enforced.

The stack is started as a user starts it, stopped as a user stops it, and started again: the
tests call a stack that has been through a restart.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from gatehouse.dynamo.client import DynamoClient
from gatehouse.dynamo.table import Table
from gatehouse_cli.local import engine_access, env_file
from gatehouse_cli.local.aws import session
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.sam import REGION
from gatehouse_cli.local.stack import Plan, running

PROJECT = Path(__file__).parents[3]
FIRST_START_WITHIN = 240.0
LOGGED_WITHIN = 15.0
TOO_MANY = 429


@dataclass(frozen=True)
class FirstRun:
    """What `gatehouse up` did between an empty folder and Ctrl-C."""

    output: str
    exit_code: int
    stopped_in: float
    admin_key: str
    account_key: str
    ports: tuple[int, ...]
    ports_open_after: tuple[int, ...]


@dataclass(frozen=True)
class Deployed:
    """The stack after its restart, and the way to call it."""

    url: str
    admin_key: str
    endpoint: str
    outputs: Mapping[str, str]
    home: LocalFolder
    first_run: FirstRun
    restarted_in: float
    restart_steps: tuple[str, ...]

    @property
    def access(self) -> EngineAccess:
        """The engine's port and the credentials of its root."""
        return _access(self.home)

    def client(self, service: str) -> Any:
        """Return a boto3 client of the engine, as its root."""
        return _client(service, self.access)

    def room_table(self, output: str) -> Table:
        """Return one of the stack's tables as the rooms use it, called as the engine's root."""
        return Table(self.outputs[output], _table_client(self.access))

    def table(self, output: str) -> Any:
        """Return one of the stack's tables: `KeysTableName` or `MainTableName`."""
        return _resource(self.access).Table(self.outputs[output])

    def call(
        self, method: str, path: str, *, key: str | None = None, **more: Any
    ) -> httpx.Response:
        """Send one request through the front door, with `key` as the bearer credential."""
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        return _http().request(method, self.url + path, headers=headers, **more)

    def call_throttled(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request to a public route; wait and repeat while the stage throttles it."""
        deadline = time.monotonic() + 30
        while True:
            answer = self.call(method, path, **more)
            throttled = answer.status_code == TOO_MANY and "Too Many Requests" in answer.text
            if not throttled or time.monotonic() > deadline:
                return answer
            time.sleep(0.3)

    def to_json(self) -> str:
        """Write everything that another process needs to call this stack."""
        fields = {
            name: getattr(self, name)
            for name in ("url", "admin_key", "endpoint", "restarted_in", "restart_steps")
        }
        return json.dumps(
            fields
            | {
                "outputs": dict(self.outputs),
                "home": str(self.home.root),
                "first_run": asdict(self.first_run),
            }
        )

    @staticmethod
    def from_json(text: str) -> Deployed:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        first_run = fields.pop("first_run")
        for name in ("ports", "ports_open_after"):
            first_run[name] = tuple(first_run[name])
        return Deployed(
            home=LocalFolder(Path(fields.pop("home"))),
            first_run=FirstRun(**first_run),
            restart_steps=tuple(fields.pop("restart_steps")),
            **fields,
        )


@cache
def _http() -> httpx.Client:
    """Make this process's HTTP client: a new one for each request would cost 20 ms of it."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.Client(trust_env=False, timeout=60, verify=False, limits=limits)  # noqa: S501 - HTTP


@cache
def _access(home: LocalFolder) -> EngineAccess:
    access = engine_access.find(home.engine_access)
    assert access is not None
    return access


@cache
def _client(service: str, access: EngineAccess) -> Any:
    return session(access).client(service, endpoint_url=access.endpoint)  # type: ignore[call-overload]


@cache
def _table_client(access: EngineAccess) -> DynamoClient:
    caller = {
        "AWS_ENDPOINT_URL_DYNAMODB": access.endpoint,
        "AWS_ACCESS_KEY_ID": access.key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret,
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": REGION,
    }
    with patch.dict(os.environ, caller):
        return DynamoClient()


@cache
def _resource(access: EngineAccess) -> Any:
    return session(access).resource("dynamodb", endpoint_url=access.endpoint)


@contextmanager
def deployed(home: LocalFolder) -> Iterator[Deployed]:
    """Deploy the real template into the home, restart it, and keep it up for the block."""
    (port,) = free_ports(1)
    first_run = _run_as_a_user(home, port)
    steps: list[str] = []
    plan = Plan(PROJECT, home, ports=(port,))
    began = time.monotonic()
    with running(plan, steps.append) as stack:
        yield Deployed(
            url=stack.url,
            admin_key=stack.api_key,
            endpoint=stack.engine.endpoint,
            outputs=stack.outputs,
            home=home,
            first_run=first_run,
            restarted_in=time.monotonic() - began,
            restart_steps=tuple(steps),
        )


def free_ports(count: int) -> tuple[int, ...]:
    """Return ports that nothing listens on, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(probe.getsockname()[1] for probe in probes)
    finally:
        for probe in probes:
            probe.close()


def command(name: str) -> str:
    """Return the path of a program that is installed beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def _run_as_a_user(home: LocalFolder, port: int) -> FirstRun:
    """Run the command itself, open an account through it, and end it with Ctrl-C."""
    arguments = [command("gatehouse"), "up", "--home", str(home.root), "--port", str(port)]
    home.root.mkdir(parents=True, exist_ok=True)
    printed = home.root / "first-run.out"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        _await(printed, "Gatehouse is ready.", process, within=FIRST_START_WITHIN)
        env = env_file.read(home.env_file)
        assert env is not None
        made = httpx.post(
            f"{env.url}/v1/accounts", json={"name": "Before"}, trust_env=False, timeout=30
        )
        assert made.status_code == 201, made.text
        account_key = made.json()["data"]["api_key"]["key"]
        _await(printed, "  keysaccount  ", process, within=LOGGED_WITHIN)
    finally:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        exit_code = process.wait(60)
    ports = (port, _access(home).port)
    return FirstRun(
        output=printed.read_text(),
        exit_code=exit_code,
        stopped_in=time.monotonic() - began,
        admin_key=env.api_key,
        account_key=account_key,
        ports=ports,
        ports_open_after=tuple(port for port in ports if _is_open(port)),
    )


def _await(printed: Path, text: str, process: subprocess.Popen[bytes], *, within: float) -> None:
    deadline = time.monotonic() + within
    while text not in printed.read_text():
        assert process.poll() is None, printed.read_text()
        assert time.monotonic() < deadline, printed.read_text()
        time.sleep(0.1)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
