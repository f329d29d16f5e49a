from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.clock import Micros
from gatehouse.core.maker import BOOTSTRAP, Maker

LONGEST_LOG_GROUP = 512  # characters
MOST_SERVICES = 200  # registered by one account

# The tags of a Lambda function or ECS service that is listed as a service.
TAG = "gatehouse:service"  # its name
ALIAS_TAG = "gatehouse:alias"  # the alias that its traffic comes through
LOGS_TAG = "gatehouse:logs"  # `off`: its log group cannot be watched

RESTARTED_AT = "GATEHOUSE_RESTARTED_AT"


class Kind(StrEnum):
    """What a service runs on. Lambda and ECS services are found by tag, HTTP ones registered."""

    LAMBDA = "lambda"
    ECS = "ecs"
    HTTP = "http"


class ServiceStatus(StrEnum):
    """How well a service works: fully, partly, not at all."""

    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Service:
    """One service of an account. Fields that its kind does not have are empty.

    A tagged service has `arn`, and perhaps `alias`; a registered one has `health_url` and
    `created_at`, and perhaps `restart_url` and `log_group`.
    """

    name: str
    account_id: str
    kind: Kind
    arn: str = ""
    alias: str = ""
    logs: bool = True
    health_url: str = ""
    restart_url: str = ""
    log_group: str = ""
    created_at: Micros = 0
    maker: Maker = BOOTSTRAP  # of a registered one

    @property
    def origin(self) -> str:
        """Identifies this service among all that have or had its name."""
        return self.arn or str(self.created_at)


@dataclass(frozen=True, slots=True)
class TaggedResource:
    """What the tagging API found: a resource and its tags."""

    arn: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The result of a check. `checked_at` 0: none was made yet; `detail` is empty when all is well.

    `listening` is whether something answers, or would; `latency_ms` is measured for HTTP only.
    """

    status: ServiceStatus
    listening: bool
    detail: str = ""
    latency_ms: int | None = None
    log_group: str = ""
    checked_at: Micros = 0


@dataclass(frozen=True, slots=True)
class CheckedService:
    """A service and the result of its last check."""

    service: Service
    health: HealthCheck


@dataclass(frozen=True, slots=True)
class NewService:
    """A registration as requested, not validated yet."""

    name: str
    health_url: str
    restart_url: str | None = None
    log_group: str | None = None


@dataclass(frozen=True, slots=True)
class RegisteredService:
    """A new registration. `secret` signs calls of its restart hook, None if it has no hook."""

    checked: CheckedService
    secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """What Lambda returns about a function. `revision` is the condition of each change.

    `variables` None: there are some and they cannot be read. `reserved` None: no concurrency is
    reserved.
    """

    name: str
    state: str
    state_reason: str
    update: str
    update_reason: str
    reserved: int | None
    log_group: str
    revision: str
    code: str
    variables: Mapping[str, str] | None = field(repr=False)

    @property
    def is_settled(self) -> bool:
        """Whether no update is in progress."""
        return self.update != "InProgress" and self.state != "Pending"


@dataclass(frozen=True, slots=True)
class AliasFacts:
    """What Lambda returns about an alias; `weighted`: two versions share its traffic."""

    version: str
    revision: str
    weighted: bool


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What ECS returns about a service and its newest deployment."""

    status: str
    running: int
    desired: int
    deployment: str
    rollout: str
    rollout_reason: str
    deployments: int
    task_definition: str


@dataclass(frozen=True, slots=True)
class CallCount:
    """The number of calls of a function in the last five minutes, and of failed ones."""

    invocations: int
    errors: int


@dataclass(frozen=True, slots=True)
class RestartOutcome:
    """How a restart ended: done, in_progress, failed, or unknown where AWS did not answer."""

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Restart:
    """A restart that was started; `state` is done or in_progress."""

    service: Service
    restarted_at: Micros
    state: str


@dataclass(frozen=True, slots=True)
class MetricSample:
    """The newest value of one metric of one machine in CloudWatch."""

    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Host:
    """Metrics of the machines, or of this one. Values that the source does not have are None."""

    source: str  # cloudwatch or environment
    cpu_percent: float | None = None
    cpu_count: int | None = None
    load: tuple[float, float, float] | None = None
    memory_total: int | None = None
    memory_used: int | None = None
    memory_used_percent: float | None = None
    disk_total: int | None = None
    disk_used: int | None = None
    disk_used_percent: float | None = None
