from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.clock import Micros

MOST_SERVICES = 200  # registered by one account

# The tags that make a function or a container service one of ours, and say how.
TAG = "gatehouse:service"  # its name
ALIAS_TAG = "gatehouse:alias"  # the alias that its traffic comes through
LOGS_TAG = "gatehouse:logs"  # `off`: its log group is no log source

RESTARTED_AT = "GATEHOUSE_RESTARTED_AT"


class Kind(StrEnum):
    """What a service runs on. Functions and container services are found, the rest registered."""

    LAMBDA = "lambda"
    ECS = "ecs"
    HTTP = "http"


class Status(StrEnum):
    """How a service is: as it should be, not quite, not at all."""

    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Service:
    """One service of an account. What its kind does not have is empty.

    A found one has `arn`, and perhaps `alias`; a registered one `health_url`, perhaps
    `restart_url` and `log_group`, and `created_at`.
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

    @property
    def origin(self) -> str:
        """Tell it from another one of the same name, then or later."""
        return self.arn or str(self.created_at)


@dataclass(frozen=True, slots=True)
class Tagged:
    """What the tagging API found: a resource and its tags."""

    arn: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found. `checked_at` 0: none was made yet; `detail` is empty when all is well.

    `listening` tells whether something answers, or would; `latency_ms` is measured for HTTP only.
    """

    status: Status
    listening: bool
    detail: str = ""
    latency_ms: int | None = None
    log_group: str = ""
    checked_at: Micros = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A service and how it is."""

    service: Service
    health: Health


@dataclass(frozen=True, slots=True)
class Wish:
    """A registration as it was asked for; nothing of it is checked yet."""

    name: str
    health_url: str
    restart_url: str | None = None
    log_group: str | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A new registration. `secret` signs calls of its restart hook, None where it has none."""

    seen: Seen
    secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """What Lambda says of a function. `revision` guards a change against another one.

    `variables` None: they are there and cannot be read. `reserved` None: no concurrency is
    reserved for it.
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
        """Tell whether no update is under way."""
        return self.update != "InProgress" and self.state != "Pending"


@dataclass(frozen=True, slots=True)
class AliasFacts:
    """What Lambda says of an alias; `weighted`: a part of its traffic goes elsewhere."""

    version: str
    revision: str
    weighted: bool


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What ECS says of a service and of its newest deployment."""

    status: str
    running: int
    desired: int
    deployment: str
    rollout: str
    rollout_reason: str
    deployments: int
    task_definition: str


@dataclass(frozen=True, slots=True)
class Calls:
    """How often a function was called in the last five minutes, and how often it failed."""

    invocations: int
    errors: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an act ended. `state`: done, in_progress, failed, or unknown where AWS did not say."""

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Restarted:
    """A restart that was begun; `state` is done or in_progress."""

    service: Service
    restarted_at: Micros
    state: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A metric of some machine as CloudWatch last knew it."""

    metric: str
    value: float


@dataclass(frozen=True, slots=True)
class Host:
    """How the machines are, or the one that answers. What its source does not know is None."""

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
