"""How a service is, out of what was seen of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from gatehouse.services.model import (
    Calls,
    ContainerFacts,
    FunctionFacts,
    Health,
    Host,
    Sample,
    Status,
)

# One failed call in ten makes a function degraded.
_TOO_MANY = 10
_LONGEST = 200

# Metrics that tell of machines: what CloudWatch's agent writes, and Container Insights of ECS.
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


def function(facts: FunctionFacts, calls: Calls | None) -> Health:
    """Judge a Lambda function. `calls` None: nobody counted them in time."""
    status, detail = _state(facts)
    if status is Status.RUNNING and calls is not None and calls.errors:
        # The two are counted apart: a failure may be known before its call is.
        invocations = max(calls.invocations, calls.errors)
        if calls.errors * _TOO_MANY >= invocations:
            status = Status.DEGRADED
        detail = f"{calls.errors} of {invocations} calls failed in the last 5 minutes"
    return Health(
        status,
        listening=status is not Status.STOPPED,
        detail=_shortened(detail),
        log_group=facts.log_group,
    )


def _state(facts: FunctionFacts) -> tuple[Status, str]:
    if facts.state == "Failed":
        return Status.STOPPED, f"Failed: {facts.state_reason}"
    if facts.reserved == 0:
        return Status.STOPPED, "Switched off: no concurrency is reserved for it"
    if facts.update == "Failed":
        return Status.DEGRADED, f"The last update failed: {facts.update_reason}"
    if facts.update == "InProgress":
        return Status.RUNNING, "An update is under way"
    if facts.state == "Pending":
        return Status.DEGRADED, f"Not ready yet: {facts.state_reason}"
    return Status.RUNNING, "Asleep until it is called" if facts.state == "Inactive" else ""


def calls_of(lines: Iterable[str]) -> Calls:
    """Count calls and failures in what a function logged, by the lines of its runtime."""
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
            failed = not _is_json(line)
    return Calls(invocations, errors)


def _is_json(line: str) -> bool:
    """Tell a line of a program's own log, which may quote anything, from one of the runtime's."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def container(facts: ContainerFacts, *, log_group: str) -> Health:
    """Judge an ECS service: what runs against what should."""
    status, detail = Status.RUNNING, ""
    counted = f"{facts.running} of {facts.desired} tasks run"
    if facts.status not in {"ACTIVE", ""}:
        status, detail = Status.STOPPED, f"The service is {facts.status.lower()}"
    elif facts.running == 0:
        status = Status.STOPPED
        detail = counted if facts.desired else "Scaled to no tasks"
    elif facts.rollout == "FAILED":
        status, detail = Status.DEGRADED, f"The deployment failed: {facts.rollout_reason}"
    elif facts.running < facts.desired:
        status, detail = Status.DEGRADED, counted
    elif facts.rollout == "IN_PROGRESS":
        detail = "A deployment is under way"
    return Health(
        status,
        listening=status is not Status.STOPPED,
        detail=_shortened(detail),
        log_group=log_group,
    )


def answered(http_status: int, *, latency_ms: int) -> Health:
    """Judge an HTTP answer."""
    fine = 200 <= http_status < 300  # noqa: PLR2004 - HTTP's own numbers
    return Health(
        Status.RUNNING if fine else Status.DEGRADED,
        listening=True,
        detail="" if fine else f"Answered {http_status}",
        latency_ms=latency_ms,
    )


def unanswered(kind: str, sentence: str) -> Health:
    """Judge a request that got no answer; `kind` is the door's word for why."""
    stopped = kind in {"address", "refused", "unresolvable"}
    return Health(
        Status.STOPPED if stopped else Status.DEGRADED,
        # Somebody was there, though nobody whom one could talk to.
        listening=kind in {"tls", "protocol"},
        detail=_shortened(sentence),
    )


def gone() -> Health:
    """Judge what was found a moment ago and is not there any more."""
    return Health(Status.STOPPED, listening=False, detail="It is not there any more")


def agent(samples: Sequence[Sample]) -> Host | None:
    """Sum up what the agents of all machines wrote; None where it is not enough to tell."""
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


def insights(samples: Sequence[Sample]) -> Host | None:
    """Sum up what Container Insights wrote of ECS clusters; None where it is not enough."""
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
    samples: Sequence[Sample],
    *,
    cpu_percent: float | None,
    cpu_count: int | None,
    memory: tuple[str, str],
    disk: tuple[str, str],
    units: tuple[int, int],
) -> Host | None:
    memory_total, memory_used, memory_percent = _share(samples, *memory, unit=units[0])
    disk_total, disk_used, disk_percent = _share(samples, *disk, unit=units[1])
    memory_percent = memory_percent or _mean(samples, "mem_used_percent")
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
        disk_used_percent=disk_percent or _mean(samples, "disk_used_percent"),
    )


def _share(
    samples: Sequence[Sample], whole: str, part: str, *, unit: int
) -> tuple[int | None, int | None, float | None]:
    total, used = _sum(samples, whole), _sum(samples, part)
    if not total or used is None:
        return None, None, None
    return round(total * unit), round(used * unit), 100 * used / total


def _sum(samples: Sequence[Sample], metric: str) -> float | None:
    values = [one.value for one in samples if one.metric == metric]
    return sum(values) if values else None


def _mean(samples: Sequence[Sample], metric: str) -> float | None:
    values = [one.value for one in samples if one.metric == metric]
    return sum(values) / len(values) if values else None


def _shortened(text: str) -> str:
    return text.rstrip(": ")[:_LONGEST]
