"""The health of services and the metrics of machines at the exact bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.services import health_rules
from gatehouse.services.model import (
    CallCount,
    ContainerFacts,
    FunctionFacts,
    HealthCheck,
    Host,
    MetricSample,
    ServiceStatus,
)

RUNNING, DEGRADED, STOPPED = ServiceStatus.RUNNING, ServiceStatus.DEGRADED, ServiceStatus.STOPPED

# ---- Health of each kind -----------------------------------------------------------------------


FACTS = FunctionFacts("fn", "Active", "s", "Successful", "u", None, "/g", "r", "c", {})
TASKS = ContainerFacts("ACTIVE", 2, 2, "d1", "COMPLETED", "why", 1, "task:1")


@pytest.mark.parametrize(
    ("changes", "calls", "status", "detail"),
    [
        ({"state": "Failed", "reserved": 0}, None, STOPPED, "Failed: s"),
        (
            {"reserved": 0, "update": "Failed"},
            None,
            STOPPED,
            "Switched off: no concurrency is reserved for it",
        ),
        ({"reserved": 1}, None, RUNNING, ""),
        ({"update": "Failed", "state": "Pending"}, None, DEGRADED, "The last update failed: u"),
        ({"update": "Failed"}, CallCount(5, 5), DEGRADED, "The last update failed: u"),
        (
            {"update": "InProgress"},
            CallCount(21, 2),
            RUNNING,
            "2 of 21 calls failed in the last 5 minutes",
        ),
        ({}, CallCount(20, 2), DEGRADED, "2 of 20 calls failed in the last 5 minutes"),
        ({}, CallCount(1, 2), DEGRADED, "2 of 2 calls failed in the last 5 minutes"),
        ({"state": "Inactive"}, CallCount(1, 0), RUNNING, "Asleep until it is called"),
        ({"state": "Failed", "state_reason": ": : "}, None, STOPPED, "Failed"),
        ({"state": "Failed", "state_reason": "x" * 192}, None, STOPPED, f"Failed: {'x' * 192}"),
        ({"state": "Failed", "state_reason": "x" * 193}, None, STOPPED, f"Failed: {'x' * 192}"),
    ],
)
def test_a_function_s_health_names_the_most_important_cause(
    changes: dict[str, object], calls: CallCount | None, status: ServiceStatus, detail: str
) -> None:
    health = health_rules.function_health(replace(FACTS, **changes), calls)  # type: ignore[arg-type]

    listening = status is not STOPPED
    assert health == HealthCheck(status, listening=listening, detail=detail, log_group="/g")


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("1 Task timed out after 3.00 seconds", 1),
        ('["Task timed out after 3.00 seconds"]', 1),
        ('{"said": "Task timed out after 3.00 seconds"}', 0),
        ("[ERROR] x", 1),
        ("Traceback (most recent call last):", 1),
        ("x [ERROR] y", 0),
        ("x REPORT RequestId: 2 Status: error", 0),
    ],
)
def test_one_line_makes_a_call_a_failed_one(line: str, errors: int) -> None:
    start, report = "START RequestId: 1", "REPORT RequestId: 1"

    assert health_rules.count_calls([start, line, report]) == CallCount(1, errors)
    assert health_rules.count_calls([line, start, report]) == CallCount(1, 0)
    again = [start, line, report] * 2 + [f"{report} Status: timeout", report]
    assert health_rules.count_calls(again) == CallCount(4, 2 * errors + 1)
    assert health_rules.count_calls([line, f"{report} Status: error"]) == CallCount(1, 1)
    assert health_rules.count_calls([line]) == CallCount(0, 0)


def test_a_line_that_quotes_a_timeout_does_not_undo_a_failure() -> None:
    quoted = '{"message": "Task timed out after 3.00 seconds"}'
    lines = ["START RequestId: 1", "[ERROR] x", quoted, "REPORT RequestId: 1"]

    assert health_rules.count_calls(lines) == CallCount(1, 1)


@pytest.mark.parametrize(
    ("changes", "status", "detail"),
    [
        ({"status": ""}, RUNNING, ""),
        ({"status": "", "running": 1}, DEGRADED, "1 of 2 tasks run"),
        ({"running": 0, "rollout": "FAILED"}, STOPPED, "0 of 2 tasks run"),
        ({"running": 0, "desired": 1}, STOPPED, "0 of 1 tasks run"),
        ({"running": 1, "desired": 1}, RUNNING, ""),
        ({"running": 1, "rollout": "FAILED"}, DEGRADED, "The deployment failed: why"),
        ({"running": 1, "rollout": "IN_PROGRESS"}, DEGRADED, "1 of 2 tasks run"),
        ({"running": 3, "rollout": "IN_PROGRESS"}, RUNNING, "A deployment is under way"),
    ],
)
def test_a_container_s_health_names_the_most_important_cause(
    changes: dict[str, object], status: ServiceStatus, detail: str
) -> None:
    facts = replace(TASKS, **changes)  # type: ignore[arg-type]

    assert health_rules.container_health(facts, log_group="/g") == HealthCheck(
        status, listening=status is not STOPPED, detail=detail, log_group="/g"
    )


def test_the_health_of_a_url_and_of_a_missing_service() -> None:
    assert health_rules.reply_health(299, latency_ms=5) == HealthCheck(
        RUNNING, listening=True, latency_ms=5
    )
    assert health_rules.reply_health(300, latency_ms=5) == HealthCheck(
        DEGRADED, listening=True, detail="Answered 300", latency_ms=5
    )
    assert health_rules.failure_health("tls", "x" * 201) == HealthCheck(
        DEGRADED, listening=True, detail="x" * 200
    )
    assert health_rules.missing_health() == HealthCheck(
        STOPPED, listening=False, detail="It does not exist any more"
    )


# ---- Metrics of machines -----------------------------------------------------------------------


def _samples(**values: float) -> list[MetricSample]:
    return [MetricSample(metric, value) for metric, value in values.items()]


def test_the_metrics_that_are_read_have_these_names() -> None:
    assert health_rules.AGENT == "CWAgent"
    assert " ".join(health_rules.AGENT_METRICS) == (
        "cpu_usage_active cpu_usage_idle mem_total mem_used mem_used_percent "
        "disk_total disk_used disk_used_percent"
    )
    assert health_rules.INSIGHTS == "ECS/ContainerInsights"
    assert " ".join(health_rules.INSIGHTS_METRICS) == (
        "CpuUtilized CpuReserved MemoryUtilized MemoryReserved "
        "EphemeralStorageUtilized EphemeralStorageReserved"
    )


def test_an_agent_s_totals_are_sums_and_percentages_follow_from_them() -> None:
    one = _samples(cpu_usage_idle=70, mem_total=6.6, mem_used=1, disk_total=30, disk_used=2)
    two = _samples(cpu_usage_idle=50, mem_total=3.4, mem_used=1.5, disk_total=10, disk_used=3)
    percentages = _samples(mem_used_percent=99, disk_used_percent=98)

    assert health_rules.agent_host([*one, *two, *percentages]) == Host(
        "cloudwatch",
        cpu_percent=40.0,
        memory_total=10,
        memory_used=2,
        memory_used_percent=25.0,
        disk_total=40,
        disk_used=5,
        disk_used_percent=12.5,
    )


@pytest.mark.parametrize(
    ("cpu", "percent"),
    [
        ({"cpu_usage_active": 0.0, "cpu_usage_idle": 60.0}, 0.0),
        ({"cpu_usage_active": 3.0}, 3.0),
        ({"cpu_usage_idle": 0.0}, 100.0),
        ({}, None),
    ],
)
def test_an_agent_s_cpu_is_the_active_share_or_what_is_not_idle(
    cpu: dict[str, float], percent: float | None
) -> None:
    host = health_rules.agent_host(_samples(mem_used_percent=40, disk_used_percent=50, **cpu))

    assert host == (
        None
        if percent is None
        else Host(
            "cloudwatch", cpu_percent=percent, memory_used_percent=40.0, disk_used_percent=50.0
        )
    )


@pytest.mark.parametrize("part", [{"mem_total": 0, "mem_used": 1}, {"mem_total": 5}])
def test_memory_without_both_its_values_is_missing(part: dict[str, float]) -> None:
    assert health_rules.agent_host(_samples(cpu_usage_active=1, **part)) is None


INSIGHTS = {"CpuReserved": 1_024_000.0, "CpuUtilized": 512_000.0}
MEMORY = {"MemoryReserved": 4.0, "MemoryUtilized": 1.0}
STORAGE = {"EphemeralStorageReserved": 20.0, "EphemeralStorageUtilized": 2.5}


def test_a_use_of_zero_is_a_measurement() -> None:
    """Ephemeral storage is often unused, and then its share is 0 and not unknown."""
    unused = {**INSIGHTS, **MEMORY, **STORAGE, "MemoryUtilized": 0, "EphemeralStorageUtilized": 0}
    host = health_rules.insights_host(_samples(**unused))

    assert host is not None
    assert (host.memory_used, host.memory_used_percent) == (0, 0.0)
    assert (host.disk_used, host.disk_used_percent) == (0, 0.0)


def test_container_insights_count_in_mebibytes_and_gigabytes() -> None:
    assert health_rules.insights_host(_samples(**INSIGHTS, **MEMORY, **STORAGE)) == Host(
        "cloudwatch",
        cpu_percent=50.0,
        cpu_count=1_000,
        memory_total=4_194_304,
        memory_used=1_048_576,
        memory_used_percent=25.0,
        disk_total=20_000_000_000,
        disk_used=2_500_000_000,
        disk_used_percent=12.5,
    )


@pytest.mark.parametrize(
    ("cpu", "percent"),
    [
        ({"CpuReserved": 1_024.0, "CpuUtilized": 0.0}, 0.0),
        ({"CpuReserved": 0.0, "CpuUtilized": 1.0}, None),
        ({"CpuReserved": 1_024.0}, None),
        ({"CpuUtilized": 1.0}, None),
    ],
)
def test_container_insights_need_reserved_and_used_cpu(
    cpu: dict[str, float], percent: float | None
) -> None:
    host = health_rules.insights_host(_samples(**cpu, **MEMORY))

    assert (host and host.cpu_percent) == percent
    assert (host is None) is (percent is None)
