"""The health of functions, containers and URLs, and the metrics of hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.services import health_rules
from gatehouse.services.model import (
    CallCount,
    ContainerFacts,
    FunctionFacts,
    Kind,
    MetricSample,
    Service,
)

ACCOUNT = "0190a3c4-7d52-7b1e-9c1e-000000000001"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:fn"


def fn(name: str) -> Service:
    return Service(name, ACCOUNT, Kind.LAMBDA, arn=f"{FUNCTION}-{name}")


FACTS = FunctionFacts(
    name="fn",
    state="Active",
    state_reason="",
    update="Successful",
    update_reason="",
    reserved=None,
    log_group="/aws/lambda/fn",
    revision="r",
    code="c",
    variables={},
)


@pytest.mark.parametrize(
    ("changes", "calls", "status", "listening", "detail"),
    [
        ({}, None, "running", True, ""),
        ({}, CallCount(10, 0), "running", True, ""),
        ({"state": "Inactive"}, None, "running", True, "Asleep until it is called"),
        ({"update": "InProgress"}, None, "running", True, "An update is under way"),
        (
            {"update": "InProgress", "state": "Pending"},
            None,
            "running",
            True,
            "An update is under way",
        ),
        (
            {"state": "Pending", "state_reason": "Creating"},
            None,
            "degraded",
            True,
            "Not ready yet: Creating",
        ),
        ({"state": "Failed", "state_reason": "no"}, None, "stopped", False, "Failed: no"),
        ({"state": "Failed"}, None, "stopped", False, "Failed"),
        (
            {"update": "Failed", "update_reason": "no"},
            None,
            "degraded",
            True,
            "The last update failed: no",
        ),
        (
            {"reserved": 0},
            None,
            "stopped",
            False,
            "Switched off: no concurrency is reserved for it",
        ),
        ({"reserved": 5}, None, "running", True, ""),
        ({}, CallCount(11, 1), "running", True, "1 of 11 calls failed in the last 5 minutes"),
        ({}, CallCount(10, 1), "degraded", True, "1 of 10 calls failed in the last 5 minutes"),
        ({}, CallCount(0, 3), "degraded", True, "3 of 3 calls failed in the last 5 minutes"),
        ({"state": "Failed"}, CallCount(9, 9), "stopped", False, "Failed"),
    ],
)
def test_the_health_of_a_function(
    changes: dict[str, object],
    calls: CallCount | None,
    status: str,
    listening: bool,  # noqa: FBT001 - a column of the table
    detail: str,
) -> None:
    health = health_rules.function_health(replace(FACTS, **changes), calls)  # type: ignore[arg-type]
    assert (health.status.value, health.listening, health.detail) == (status, listening, detail)
    assert health.log_group == "/aws/lambda/fn"


TASKS = ContainerFacts("ACTIVE", 2, 2, "d1", "COMPLETED", "", 1, "task:1")


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({}, "running", ""),
        ({"rollout": "IN_PROGRESS"}, "running", "A deployment is under way"),
        ({"running": 3}, "running", ""),
        ({"running": 1}, "degraded", "1 of 2 tasks run"),
        ({"running": 0}, "stopped", "0 of 2 tasks run"),
        ({"running": 0, "desired": 0}, "stopped", "Scaled to no tasks"),
        (
            {"rollout": "FAILED", "rollout_reason": "x" * 300},
            "degraded",
            ("The deployment failed: " + "x" * 300)[:200],
        ),
        ({"status": "DRAINING"}, "stopped", "The service is draining"),
        ({"status": "INACTIVE", "running": 0}, "stopped", "The service is inactive"),
    ],
)
def test_the_health_of_a_container_service(
    changes: dict[str, object], status: str, detail: str
) -> None:
    facts = replace(TASKS, **changes)  # type: ignore[arg-type]
    health = health_rules.container_health(facts, log_group="/g")
    assert (health.status.value, health.detail, health.log_group) == (status, detail, "/g")
    assert health.listening is (status != "stopped")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "running"), (204, "running"), (299, "running"), (199, "degraded"), (300, "degraded")]
    + [(status, "degraded") for status in (301, 400, 404, 500, 503)],
)
def test_the_health_of_a_url_that_answers(status: int, expected: str) -> None:
    health = health_rules.reply_health(status, latency_ms=12)
    assert (health.status.value, health.listening, health.latency_ms) == (expected, True, 12)
    assert health.detail == ("" if expected == "running" else f"Answered {status}")


@pytest.mark.parametrize(
    ("kind", "status", "listening"),
    [
        ("address", "stopped", False),
        ("unresolvable", "stopped", False),
        ("refused", "stopped", False),
        ("timeout", "degraded", False),
        ("connection", "degraded", False),
        ("tls", "degraded", True),
        ("protocol", "degraded", True),
    ],
)
def test_the_health_of_a_url_that_does_not_answer(kind: str, status: str, listening: bool) -> None:  # noqa: FBT001
    health = health_rules.failure_health(kind, "why")
    assert (health.status.value, health.listening, health.detail) == (status, listening, "why")


REPORT = "REPORT RequestId: 1\tDuration: 3 ms\tBilled Duration: 4 ms"
START = "START RequestId: 1 Version: $LATEST"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], CallCount(0, 0)),
        ([START, "END RequestId: 1", REPORT], CallCount(1, 0)),
        ([START, "[ERROR] ValueError: x\nTraceback", "END RequestId: 1", REPORT], CallCount(1, 1)),
        ([START, "Traceback (most recent call last):", "  File", REPORT, REPORT], CallCount(2, 1)),
        (
            [START, "2026-01-01T00:00:00Z 1 Task timed out after 3.00 seconds", REPORT],
            CallCount(1, 1),
        ),
        ([START, f"{REPORT}\tStatus: timeout"], CallCount(1, 1)),
        ([START, f"{REPORT}\tStatus: error\tError Type: X"], CallCount(1, 1)),
        # A handled error that a program logs itself is not a failed call.
        ([START, '{"exception": "Traceback (most recent call last)"}', REPORT], CallCount(1, 0)),
        ([START, '{"said": "Task timed out after 3 s"}', REPORT], CallCount(1, 0)),
        (["[ERROR] of a call that began earlier", START, REPORT], CallCount(1, 0)),
    ],
)
def test_calls_and_errors_are_counted_from_the_runtime_s_lines(
    lines: list[str], expected: CallCount
) -> None:
    assert health_rules.count_calls(lines) == expected


def test_cloudwatch_agent_metrics_are_combined_into_one_host() -> None:
    samples = [
        MetricSample(metric, value)
        for metric, value in (
            ("cpu_usage_active", 10.0),
            ("cpu_usage_active", 30.0),
            ("mem_used_percent", 40.0),
            ("disk_used_percent", 70.0),
        )
    ]
    host = health_rules.agent_host(samples)
    assert host is not None
    assert (host.source, host.cpu_percent, host.memory_used_percent) == ("cloudwatch", 20.0, 40.0)
    assert (host.memory_total, host.disk_used_percent) == (None, 70.0)
    assert health_rules.agent_host(samples[:2]) is None, "memory and disk are missing"


def test_container_insights_are_combined_into_one_host() -> None:
    samples = [
        MetricSample(metric, value)
        for metric, value in (
            ("CpuUtilized", 512.0),
            ("CpuReserved", 2048.0),
            ("MemoryUtilized", 1024.0),
            ("MemoryReserved", 4096.0),
            ("EphemeralStorageUtilized", 5.0),
            ("EphemeralStorageReserved", 20.0),
        )
    ]
    host = health_rules.insights_host(samples)
    assert host is not None
    assert (host.cpu_percent, host.cpu_count) == (25.0, 2)
    assert (host.memory_total, host.memory_used) == (4096 << 20, 1024 << 20)
    assert (host.disk_total, host.disk_used_percent) == (20 * 10**9, 25.0)
    assert health_rules.insights_host([]) is None
