"""Measure one cold start in the Lambda runtime interface emulator that SAM CLI contains.

Each sample uses a new emulator process. It starts the runtime at the first invocation and reports
the duration of the init phase, `INIT REPORT(durationMs: x)`. Its REPORT line is not used.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REPORT = re.compile(r"INIT REPORT\(.*?durationMs: ([0-9.]+)")
_INVOCATION = "/2015-03-31/functions/function/invocations"
_TIMEOUT = 30  # seconds
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class NoReportError(Exception):
    """The emulator started but reported no init duration; the message holds its output."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function as Lambda loads it: its folder first, then the packages of its layers."""

    name: str
    folder: Path
    packages: Sequence[Path]
    environment: Mapping[str, str]
    event: Mapping[str, Any]


def binary(tools: Path) -> Path:
    """Return the path of the emulator inside SAM CLI's environment."""
    machine = _MACHINES[platform.machine().lower()]
    found = sorted(tools.glob(f"sam/lib/python*/site-packages/samcli/**/aws-lambda-rie-{machine}"))
    if not found:
        raise FileNotFoundError("no emulator in the SAM environment: run `make setup`")
    return found[0]


def init_ms(emulator: Path, python: Path, function: Function) -> float:
    """Start a function cold, invoke it once, and return the duration of its init phase in ms."""
    invoke_port, runtime_port = _free_ports(2)
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [
                emulator,
                "--runtime-interface-emulator-address",
                f"127.0.0.1:{invoke_port}",
                "--runtime-api-address",
                f"127.0.0.1:{runtime_port}",
                python,
                "-m",
                "awslambdaric",
                "handler.handler",
            ],
            cwd=function.folder,
            env=_environment(function),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _invoke(invoke_port, function.event)
        finally:
            process.terminate()
            process.wait(_TIMEOUT)
        output.seek(0)
        text = output.read()
    report = _REPORT.search(text)
    if report is None or "INIT RTDONE(status: success)" not in text:
        raise NoReportError(f"{function.name}: {text}")
    return float(report[1])


def _environment(function: Function) -> dict[str, str]:
    """Return the variables that Lambda sets, and nothing of the developer's environment."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(map(str, (function.folder, *function.packages))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(function.folder),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        **function.environment,
    }


def _invoke(port: int, event: Mapping[str, Any]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        try:
            connection.request("POST", _INVOCATION, json.dumps(event))
            connection.getresponse().read()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
