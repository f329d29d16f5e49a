"""Check many services at once, by HTTP, Lambda, ECS and CloudWatch, within a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gatehouse.aws import control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.core import settings
from gatehouse.core.clock import Micros
from gatehouse.core.observe import logger
from gatehouse.core.request import Call
from gatehouse.outbound import client as outbound
from gatehouse.services import health_rules, rules
from gatehouse.services.adapters import cloudwatch, ecs, lambda_functions
from gatehouse.services.model import (
    CallCount,
    FunctionFacts,
    HealthCheck,
    Kind,
    Service,
    ServiceStatus,
)

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

PATIENCE = 1.5  # seconds for a service to answer
_ONE_WITHIN = 3.0  # seconds for the check of a single service
_FAIR = 0.5  # seconds: after a shorter wait a timeout says nothing about the service
_MARGIN = 0.1  # seconds before the end, to record that a service did not answer
_WORTH = 0.1  # seconds: with less time left no request is sent
_HTTP_THREADS = 64  # requests to registered services at once
_AWS_THREADS = 32  # requests to AWS at once
# Task definitions read per ten services: AWS answers few a second, and they never change.
_NEW_TASKS = 2

_MOST_GROUPS = 1_000

_HEADERS = {"Accept": "*/*", "User-Agent": "Gatehouse-Health/1.0"}

# The log group of each task definition. Task definitions never change.
_GROUPS: dict[str, str] = {}

Result = TypeVar("Result")
Facts = tuple[FunctionFacts, CallCount | None]


class CheckRun:
    """One run of checks. It ends at `until` (monotonic seconds), with or without all results."""

    def __init__(
        self, cloud: Cloud, known: Mapping[str, HealthCheck], *, now: Micros, until: float
    ) -> None:
        self._cloud = cloud
        self._known = known
        self._now = now
        self._until = until
        self._http = ThreadPoolExecutor(_HTTP_THREADS)
        self._aws = ThreadPoolExecutor(_AWS_THREADS)
        self._answers: list[Future[dict[str, HealthCheck]]] = []
        self._functions: dict[str, Future[Facts]] = {}
        self._calls: Future[dict[str, CallCount]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Threads that still wait are not awaited: each request has a deadline of its own.
        for pool in (self._http, self._aws):
            pool.shutdown(wait=False, cancel_futures=True)

    def check(self, services: Iterable[Service]) -> None:
        """Start to check services, in their order."""
        by_kind: dict[Kind, list[Service]] = {kind: [] for kind in Kind}
        for service in services:
            by_kind[service.kind].append(service)
        for service in by_kind[Kind.HTTP]:
            self._answers.append(self._http.submit(self._request, service))
        if by_kind[Kind.LAMBDA]:
            self._read_functions(by_kind[Kind.LAMBDA])
        clusters: dict[str, list[Service]] = {}
        if by_kind[Kind.ECS]:
            self._cloud.ecs()  # made here: each thread would make one of its own
        for service in by_kind[Kind.ECS]:
            clusters.setdefault(ecs.cluster_of(service.arn), []).append(service)
        for cluster, members in clusters.items():
            for chunk in rules.chunks(members, ecs.AT_ONCE):
                self._answers.append(self._aws.submit(self._read_containers, cluster, chunk))

    def results(self) -> dict[str, HealthCheck]:
        """Return the results by name, when all are there or time is up; the others are left out."""
        started: list[Future[Any]] = [*self._answers, *self._functions.values()]
        started += [self._calls] if self._calls else []
        wait(started, timeout=max(0.0, self._until - time.monotonic()))
        found: dict[str, HealthCheck] = {}
        for answer in self._answers:
            checked = _value(answer)
            if checked:
                found |= checked
        counted = _value(self._calls) if self._calls else None
        for name, future in self._functions.items():
            read = _value(future)
            if read is not None:
                facts, calls = read
                calls = (counted or {}).get(facts.name, calls)
                found[name] = health_rules.function_health(facts, calls)
            elif future.done() and isinstance(future.exception(), control_plane.ResourceMissing):
                found[name] = health_rules.missing_health()
        return {name: replace(one, checked_at=self._now) for name, one in found.items()}

    def _request(self, service: Service) -> dict[str, HealthCheck]:
        """Send a health request. Empty if too little time was left for a fair result."""
        started = time.monotonic()
        patience = min(PATIENCE, self._until - started - _MARGIN)
        if patience < _WORTH:
            return {}
        try:
            reply = outbound.send(
                "GET", service.health_url, headers=_HEADERS, timeout=patience, most=1
            )
        except outbound.RequestFailed as failed:
            if failed.kind == "timeout" and patience < _FAIR:
                return {}
            return {service.name: health_rules.failure_health(failed.kind, str(failed))}
        latency = round((time.monotonic() - started) * 1_000)
        return {service.name: health_rules.reply_health(reply.status, latency_ms=latency)}

    def _read_functions(self, services: Sequence[Service]) -> None:
        self._cloud.lambdas()
        read = self._read_function
        if settings.HEALTH_SOURCE.text() == "metrics":
            names = [lambda_functions.name_of(one.arn) for one in services]
            count = partial(cloudwatch.count_calls, self._cloud.cloudwatch(), names, now=self._now)
            self._calls = self._aws.submit(count)
        else:
            self._cloud.logs()
            read = self._read_function_and_log
        for one in services:
            self._functions[one.name] = self._aws.submit(read, one)

    def _read_function(self, service: Service) -> Facts:
        return lambda_functions.read(self._cloud.lambdas(), service.arn), None

    def _read_function_and_log(self, service: Service) -> Facts:
        facts, _ = self._read_function(service)
        try:
            lines = cloudwatch.read_lines(self._cloud.logs(), facts.log_group, now=self._now)
        except control_plane.ControlPlaneError:
            return facts, None  # it has never logged, or its log cannot be read
        return facts, health_rules.count_calls(lines)

    def _read_containers(self, cluster: str, services: Sequence[Service]) -> dict[str, HealthCheck]:
        client = self._cloud.ecs()
        described = ecs.describe(client, cluster, arns=[one.arn for one in services])
        groups = _log_groups(client, {one.task_definition for one in described.values()})
        found: dict[str, HealthCheck] = {}
        for service in services:
            facts = described.get(service.arn)
            if facts is None:
                found[service.name] = health_rules.missing_health()
                continue
            before = self._known.get(service.name)
            group = groups.get(facts.task_definition, before.log_group if before else "")
            found[service.name] = health_rules.container_health(facts, log_group=group)
        return found


def check_one(call: Call, cloud: Cloud, *, service: Service) -> HealthCheck:
    """Check a service now, within three seconds."""
    until = time.monotonic() + _ONE_WITHIN
    with CheckRun(cloud, {}, now=call.now, until=until) as checks:
        checks.check([service])
        found = checks.results()
    unanswered = HealthCheck(
        ServiceStatus.DEGRADED, listening=False, detail="AWS did not answer", checked_at=call.now
    )
    return found.get(service.name, unanswered)


def _log_groups(client: ECSClient, task_definitions: Iterable[str]) -> dict[str, str]:
    """Return the known log groups by task definition, after reading a few new ones."""
    left = _NEW_TASKS
    for one in sorted(task_definitions):
        if one not in _GROUPS and left:
            left -= 1
            with suppress(control_plane.ControlPlaneError):
                _GROUPS[one] = ecs.log_group(client, one)
    while len(_GROUPS) > _MOST_GROUPS:
        _GROUPS.pop(next(iter(_GROUPS)), None)
    return dict(_GROUPS)


def _value(future: Future[Result]) -> Result | None:
    """Return a finished check's result; None if it is not finished, or failed. Bugs are logged."""
    if not future.done() or future.cancelled():
        return None
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, control_plane.ControlPlaneError):
        logger.error("check_failed", exc_info=error)
    return None
