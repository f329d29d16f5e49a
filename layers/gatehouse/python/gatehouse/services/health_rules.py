"""The health of a service from what AWS, its log or its HTTP answer shows. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from gatehouse.services.model import (
    CallCount,
    ContainerFacts,
    FunctionFacts,
    HealthCheck,
    Host,
    MetricSample,
    ServiceStatus,
)

# One failed call in ten makes a function degraded.
_TOO_MANY = 10
_LONGEST = 200  # characters of a detail

# Metrics of machines: those of CloudWatch's agent, and those of Container Insights for ECS.
AGENT = "CWAgent"
AGENT_METRICS = (
    *("cpu_usage_active", "cpu_usage_idle"),
    *("mem_total", "mem_used", "mem_used_percent"),
    *("disk_total", "disk_used", "disk_used_percent"),
)
INSIGHTS = "ECS/ContainerInsights"
INSIGHTS_METRICS = (
    *("CpuUtilized", "CpuReserved", "MemoryUtilized", "MemoryReserved"),
    *("EphemeralStorageUtilized", "EphemeralStorageReserved"),
)
_MEBI, _GIGA = 1 << 20, 10**9


def function_health(facts: FunctionFacts, calls: CallCount | None) -> HealthCheck:
    """Return the health of a Lambda function. `calls` None: they were not counted in time."""
    status, detail = _state(facts)
    if status is ServiceStatus.RUNNING and calls is not None and calls.errors:
        # CloudWatch counts both separately: it may know a failure before its call.
        invocations = max(calls.invocations, calls.errors)
        if calls.errors * _TOO_MANY >= invocations:
            status = ServiceStatus.DEGRADED
        detail = f"{calls.errors} of {invocations} calls failed in the last 5 minutes"
    return HealthCheck(
        status,
        listening=status is not ServiceStatus.STOPPED,
        detail=_shortened(detail),
        log_group=facts.log_group,
    )


def _state(facts: FunctionFacts) -> tuple[ServiceStatus, str]:
    if facts.state == "Failed":
        return ServiceStatus.STOPPED, f"Failed: {facts.state_reason}"
    if facts.reserved == 0:
        return ServiceStatus.STOPPED, "Switched off: no concurrency is reserved for it"
    if facts.update == "Failed":
        return ServiceStatus.DEGRADED, f"The last update failed: {facts.update_reason}"
    if facts.update == "InProgress":
        return ServiceStatus.RUNNING, "An update is under way"
    if facts.state == "Pending":
        return ServiceStatus.DEGRADED, f"Not ready yet: {facts.state_reason}"
    return ServiceStatus.RUNNING, "Asleep until it is called" if facts.state == "Inactive" else ""


def count_calls(lines: Iterable[str]) -> CallCount:
    """Count calls and failures in a function's log, by the lines that its runtime writes."""
    invocations = errors = 0
    failed = False
    for line in lines:
        if line.startswith("START RequestId:"):
            failed = False
        elif line.startswith(("[ERROR]", "Traceback (most recent call last)")):
            failed = True
        elif line.startswith("REPORT RequestId:"):
            invocations += 1
            errors += failed or re.search(r"Status: (error|timeout)", line) is not None
            failed = False
        elif "Task timed out after" in line:
            failed = failed or not _is_json(line)
    return CallCount(invocations, errors)


def _is_json(line: str) -> bool:
    """Return whether a program wrote the line, which may quote anything, and not the runtime."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def container_health(facts: ContainerFacts, *, log_group: str) -> HealthCheck:
    """Return the health of an ECS service: its running tasks compared with the desired ones."""
    status, detail = ServiceStatus.RUNNING, ""
    counted = f"{facts.running} of {facts.desired} tasks run"
    if facts.status not in {"ACTIVE", ""}:
        status, detail = ServiceStatus.STOPPED, f"The service is {facts.status.lower()}"
    elif facts.running == 0:
        status = ServiceStatus.STOPPED
        detail = counted if facts.desired else "Scaled to no tasks"
    elif facts.rollout == "FAILED":
        status, detail = ServiceStatus.DEGRADED, f"The deployment failed: {facts.rollout_reason}"
    elif facts.running < facts.desired:
        status, detail = ServiceStatus.DEGRADED, counted
    elif facts.rollout == "IN_PROGRESS":
        detail = "A deployment is under way"
    return HealthCheck(
        status,
        listening=status is not ServiceStatus.STOPPED,
        detail=_shortened(detail),
        log_group=log_group,
    )


def reply_health(http_status: int, *, latency_ms: int) -> HealthCheck:
    """Return the health of an HTTP service that answered."""
    fine = 200 <= http_status < 300  # noqa: PLR2004 - HTTP's own numbers
    return HealthCheck(
        ServiceStatus.RUNNING if fine else ServiceStatus.DEGRADED,
        listening=True,
        detail="" if fine else f"Answered {http_status}",
        latency_ms=latency_ms,
    )


def failure_health(kind: str, sentence: str) -> HealthCheck:
    """Return the health of an HTTP service that did not answer; `kind` is the outbound error's."""
    stopped = kind in {"address", "refused", "unresolvable"}
    return HealthCheck(
        ServiceStatus.STOPPED if stopped else ServiceStatus.DEGRADED,
        # Something accepts connections, but does not speak TLS or HTTP correctly.
        listening=kind in {"tls", "protocol"},
        detail=_shortened(sentence),
    )


def missing_health() -> HealthCheck:
    """Return the health of a tagged service that does not exist any more."""
    return HealthCheck(ServiceStatus.STOPPED, listening=False, detail="It does not exist any more")


def agent_host(samples: Sequence[MetricSample]) -> Host | None:
    """Sum up what CloudWatch's agents reported; None if CPU or memory is missing."""
    idle = _mean(samples, "cpu_usage_idle")
    active = _mean(samples, "cpu_usage_active")
    return _host(
        samples,
        cpu_percent=100 - idle if active is None and idle is not None else active,
        cpu_count=None,
        memory=("mem_total", "mem_used"),
        disk=("disk_total", "disk_used"),
        units=(1, 1),
    )


def insights_host(samples: Sequence[MetricSample]) -> Host | None:
    """Sum up Container Insights' metrics of ECS clusters; None if CPU or memory is missing."""
    reserved, used = _sum(samples, "CpuReserved"), _sum(samples, "CpuUtilized")
    return _host(
        samples,
        cpu_percent=100 * used / reserved if reserved and used is not None else None,
        cpu_count=round(reserved / 1_024) if reserved else None,
        memory=("MemoryReserved", "MemoryUtilized"),
        disk=("EphemeralStorageReserved", "EphemeralStorageUtilized"),
        units=(_MEBI, _GIGA),
    )


def _host(
    samples: Sequence[MetricSample],
    *,
    cpu_percent: float | None,
    cpu_count: int | None,
    memory: tuple[str, str],
    disk: tuple[str, str],
    units: tuple[int, int],
) -> Host | None:
    memory_total, memory_used, memory_percent = _share(samples, *memory, unit=units[0])
    disk_total, disk_used, disk_percent = _share(samples, *disk, unit=units[1])
    if memory_percent is None:
        memory_percent = _mean(samples, "mem_used_percent")
    if disk_percent is None:
        disk_percent = _mean(samples, "disk_used_percent")
    if cpu_percent is None or memory_percent is None:
        return None
    return Host(
        source="cloudwatch",
        cpu_percent=cpu_percent,
        cpu_count=cpu_count,
        memory_total=memory_total,
        memory_used=memory_used,
        memory_used_percent=memory_percent,
        disk_total=disk_total,
        disk_used=disk_used,
        disk_used_percent=disk_percent,
    )


def _share(
    samples: Sequence[MetricSample], whole: str, part: str, *, unit: int
) -> tuple[int | None, int | None, float | None]:
    total, used = _sum(samples, whole), _sum(samples, part)
    if not total or used is None:
        return None, None, None
    return round(total * unit), round(used * unit), 100 * used / total


def _sum(samples: Sequence[MetricSample], metric: str) -> float | None:
    values = [one.value for one in samples if one.metric == metric]
    return sum(values) if values else None


def _mean(samples: Sequence[MetricSample], metric: str) -> float | None:
    values = [one.value for one in samples if one.metric == metric]
    return sum(values) / len(values) if values else None


def _shortened(text: str) -> str:
    return text.rstrip(": ")[:_LONGEST]
