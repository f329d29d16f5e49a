"""Ask services, and those who run them, how they are: many at once, and not for long."""

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
from gatehouse.services.model import Calls, FunctionFacts, Health, Kind, Service, Status

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

PATIENCE = 1.5  # seconds for a service to answer
_ONE_WITHIN = 3.0  # seconds for one service and those who run it
_FAIR = 0.5  # seconds after which silence says something about the service
_MARGIN = 0.1  # seconds for telling that somebody was silent
_WORTH = 0.1  # seconds without which asking is not worth it
_DOORS = 64  # services asked at once
_PLANES = 32  # requests to AWS at once
_NEW_TASKS = 2  # task definitions read for ten services: AWS answers few a second, and they stay

_MOST_GROUPS = 1_000

_HEADERS = {"Accept": "*/*", "User-Agent": "Gatehouse-Health/1.0"}

# What task definitions log to; each is written once and never changed.
_GROUPS: dict[str, str] = {}

Done = TypeVar("Done")
Facts = tuple[FunctionFacts, Calls | None]


class Round:
    """One round of checks, which ends at `until` (monotonic seconds) whoever has not answered."""

    def __init__(
        self, cloud: Cloud, known: Mapping[str, Health], *, now: Micros, until: float
    ) -> None:
        self._cloud = cloud
        self._known = known
        self._now = now
        self._until = until
        self._doors = ThreadPoolExecutor(_DOORS)
        self._planes = ThreadPoolExecutor(_PLANES)
        self._answers: list[Future[dict[str, Health]]] = []
        self._functions: dict[str, Future[Facts]] = {}
        self._calls: Future[dict[str, Calls]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever still waits is left behind; each has a deadline of its own.
        for pool in (self._doors, self._planes):
            pool.shutdown(wait=False, cancel_futures=True)

    def check(self, services: Iterable[Service]) -> None:
        """Begin to check services, in their order."""
        of: dict[Kind, list[Service]] = {kind: [] for kind in Kind}
        for service in services:
            of[service.kind].append(service)
        for service in of[Kind.HTTP]:
            self._answers.append(self._doors.submit(self._knock, service))
        if of[Kind.LAMBDA]:
            self._read_functions(of[Kind.LAMBDA])
        clusters: dict[str, list[Service]] = {}
        if of[Kind.ECS]:
            self._cloud.ecs()  # made here: several threads would make several
        for service in of[Kind.ECS]:
            clusters.setdefault(ecs.cluster_of(service.arn), []).append(service)
        for cluster, several in clusters.items():
            for some in rules.chunks(several, ecs.AT_ONCE):
                self._answers.append(self._planes.submit(self._read_containers, cluster, some))

    def results(self) -> dict[str, Health]:
        """Give how services are, by name, once all answered or the end came; others are missing."""
        begun: list[Future[Any]] = [*self._answers, *self._functions.values()]
        begun += [self._calls] if self._calls else []
        wait(begun, timeout=max(0.0, self._until - time.monotonic()))
        found: dict[str, Health] = {}
        for answer in self._answers:
            checked = _value(answer)
            if checked:
                found |= checked
        counted = _value(self._calls) if self._calls else None
        for name, future in self._functions.items():
            facts = _value(future)
            if facts is not None:
                said, calls = facts
                found[name] = health_rules.function(said, (counted or {}).get(said.name, calls))
            elif future.done() and isinstance(future.exception(), control_plane.ResourceMissing):
                found[name] = health_rules.gone()
        return {name: replace(one, checked_at=self._now) for name, one in found.items()}

    def _knock(self, service: Service) -> dict[str, Health]:
        """Ask a registered service. Empty where there was no time to ask fairly."""
        began = time.monotonic()
        patience = min(PATIENCE, self._until - began - _MARGIN)
        if patience < _WORTH:
            return {}
        try:
            reply = outbound.send(
                "GET", service.health_url, headers=_HEADERS, timeout=patience, most=1
            )
        except outbound.RequestFailed as failed:
            if failed.kind == "timeout" and patience < _FAIR:
                return {}
            return {service.name: health_rules.unanswered(failed.kind, str(failed))}
        latency = round((time.monotonic() - began) * 1_000)
        return {service.name: health_rules.answered(reply.status, latency_ms=latency)}

    def _read_functions(self, services: Sequence[Service]) -> None:
        self._cloud.lambdas()
        read = self._read_function
        if settings.HEALTH_SOURCE.text() == "metrics":
            names = [lambda_functions.name_of(one.arn) for one in services]
            count = partial(cloudwatch.calls, self._cloud.cloudwatch(), names, now=self._now)
            self._calls = self._planes.submit(count)
        else:
            self._cloud.logs()
            read = self._read_function_and_log
        for one in services:
            self._functions[one.name] = self._planes.submit(read, one)

    def _read_function(self, service: Service) -> Facts:
        return lambda_functions.read(self._cloud.lambdas(), service.arn), None

    def _read_function_and_log(self, service: Service) -> Facts:
        facts, _ = self._read_function(service)
        try:
            lines = cloudwatch.lines(self._cloud.logs(), facts.log_group, now=self._now)
        except control_plane.ControlPlaneError:
            return facts, None  # it has never logged, or nobody can read it
        return facts, health_rules.calls_of(lines)

    def _read_containers(self, cluster: str, services: Sequence[Service]) -> dict[str, Health]:
        client = self._cloud.ecs()
        facts = ecs.describe(client, cluster, arns=[one.arn for one in services])
        groups = _log_groups(client, {one.task_definition for one in facts.values()})
        found: dict[str, Health] = {}
        for service in services:
            said = facts.get(service.arn)
            if said is None:
                found[service.name] = health_rules.gone()
                continue
            before = self._known.get(service.name)
            group = groups.get(said.task_definition, before.log_group if before else "")
            found[service.name] = health_rules.container(said, log_group=group)
        return found


def look(call: Call, cloud: Cloud, *, service: Service) -> Health:
    """Check a service now, for three seconds at most."""
    until = time.monotonic() + _ONE_WITHIN
    with Round(cloud, {}, now=call.now, until=until) as checks:
        checks.check([service])
        found = checks.results()
    silent = Health(
        Status.DEGRADED, listening=False, detail="AWS did not answer", checked_at=call.now
    )
    return found.get(service.name, silent)


def _log_groups(client: ECSClient, task_definitions: Iterable[str]) -> dict[str, str]:
    """Give the log groups that are known, a few of them asked for just now."""
    left = _NEW_TASKS
    for one in sorted(task_definitions):
        if one not in _GROUPS and left:
            left -= 1
            with suppress(control_plane.ControlPlaneError):
                _GROUPS[one] = ecs.log_group(client, one)
    while len(_GROUPS) > _MOST_GROUPS:
        _GROUPS.pop(next(iter(_GROUPS)), None)
    return dict(_GROUPS)


def _value(future: Future[Done]) -> Done | None:
    """Give what a check found; None where it is not done, or failed. A bug of ours is logged."""
    if not future.done() or future.cancelled():
        return None
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, control_plane.ControlPlaneError):
        logger.error("check_failed", exc_info=error)
    return None
