"""Services on the services surface: list, check, register, remove, restart."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, Field

from gatehouse.aws import clients
from gatehouse.aws.control_plane import Cloud
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import NotFound, UpgradeRequired
from gatehouse.core.text import LONGEST_LABEL
from gatehouse.dynamo import connection
from gatehouse.policy.actions import managing, scope
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.services import actions as services
from gatehouse.services import discovery
from gatehouse.services import restart as restarts
from gatehouse.services.model import (
    LONGEST_LOG_GROUP,
    CheckedService,
    Kind,
    NewService,
    RegisteredService,
    ServiceStatus,
)
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Body, written
from gatehouse.web.fields import Url, documented
from gatehouse.web.strict_route import send
from gatehouse.web.surfaces import SERVICES

TABLES = connection.tables()
CLOUD = Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs)

door = Door(SERVICES, title="Services")
handler = door.handler


NAMES = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"
ServiceName = Annotated[str, Path(json_schema_extra={"pattern": NAMES})]
Lines = Annotated[str, Query(max_length=LONGEST_LABEL)]
Since = Annotated[str, Query(max_length=LONGEST_LOG_GROUP)]


class NewServiceBody(Body):
    """An HTTP service. A restart sends a signed POST to `restartUrl`."""

    name: Annotated[str, documented(maxLength=LONGEST_LABEL, pattern=NAMES)] = Field(
        examples=["billing"], description="Lower-case letters, digits, hyphens."
    )
    healthUrl: Url = Field(examples=["https://billing.example/health"])
    restartUrl: Url | None = None
    logGroup: (
        Annotated[
            str,
            Field(
                max_length=LONGEST_LOG_GROUP,
                json_schema_extra={"pattern": "^[A-Za-z0-9_/.#-]+$"},
            ),
        ]
        | None
    ) = Field(None, description="For the operator's account only.")


class ServiceView(BaseModel):
    """A service with its last health check; `detail` explains a status other than running."""

    name: str
    kind: Kind
    status: ServiceStatus
    healthy: bool
    listening: bool
    healthUrl: str | None
    latencyMs: int | None
    lastChecked: str | None
    logGroup: str | None
    detail: str | None


class CreatedService(ServiceView):
    """A new registration. With a restart hook, `restartSecret` is returned, only this once."""

    restartSecret: str | None = None


class RestartView(BaseModel):
    """A restart. `state` is in_progress if it takes longer than a request can."""

    restarted: bool
    service: str
    kind: Kind
    restartedAt: str
    state: str


class Metrics(BaseModel):
    """Metrics of the machines; values that the source does not have are null."""

    cpuPercent: float | None
    cpuCount: int | None
    loadAvg: list[float | None]
    memTotalBytes: int | None
    memFreeBytes: int | None
    memUsedBytes: int | None
    memUsedPercent: float | None
    diskTotalBytes: int | None
    diskUsedBytes: int | None
    diskUsedPercent: float | None
    source: str
    collectedAt: str


@door.route("GET", "/api/services/list", needs=scope("services:read"))
async def listing(call: Caller) -> list[ServiceView]:
    """List services in name order. Checks are at most half a minute old, see `lastChecked`."""
    found = services.list_services(TABLES.main, call, CLOUD)
    return [ServiceView(**_view(one)) for one in found]


@door.route("GET", "/api/services/metrics", needs=managing("services:read"))
async def metrics(call: Caller) -> Metrics:
    """Return metrics of the machines, from CloudWatch if it has them. For the operator only."""
    host = services.get_host(call, CLOUD)
    total, used = host.memory_total, host.memory_used
    return Metrics(
        cpuPercent=_rounded(host.cpu_percent),
        cpuCount=host.cpu_count,
        loadAvg=[_rounded(one) for one in host.load] if host.load else [None, None, None],
        memTotalBytes=total,
        memFreeBytes=None if total is None or used is None else total - used,
        memUsedBytes=used,
        memUsedPercent=_rounded(host.memory_used_percent),
        diskTotalBytes=host.disk_total,
        diskUsedBytes=host.disk_used,
        diskUsedPercent=_rounded(host.disk_used_percent),
        source=host.source,
        collectedAt=rfc3339(call.now),
    )


@door.route("GET", "/api/services/{name}/health", needs=scope("services:read"))
async def health(call: Caller, name: ServiceName) -> ServiceView:
    """Check one service now."""
    return ServiceView(**_view(services.check(TABLES.main, call, CLOUD, name=name)))


@door.route("GET", "/api/services/{name}/logs", needs=managing("services:read"))
async def logs(call: Caller, name: ServiceName, lines: Lines = "", since: Since = "") -> None:
    """Answer 426: a client must connect to this path with a WebSocket."""
    del lines, since
    if discovery.find_log_group(TABLES.main, call, CLOUD, name=name) is None:
        raise NotFound(f'Service "{name}" has no logs to watch')
    # RFC 9110 asks for an `Upgrade` header with 426, but API Gateway does not send one.
    raise UpgradeRequired("Upgrade Required: connect with a WebSocket")


@door.route("POST", "/api/services/{name}/restart", needs=managing("services:write"))
async def restart(call: Caller, name: ServiceName) -> RestartView:
    """Restart a service and wait up to 20 seconds for it."""
    restarted = restarts.restart(TABLES.main, call, CLOUD, _vault(), name=name)
    return RestartView(
        restarted=True,
        service=restarted.service.name,
        kind=restarted.service.kind,
        restartedAt=rfc3339(restarted.restarted_at),
        state=restarted.state,
    )


@door.route(
    "POST",
    "/api/services",
    needs=managing("services:write"),
    status=201,
    response_model=CreatedService,
)
async def register(call: Caller, request: Request, body: NewServiceBody) -> Response:
    """Register an HTTP service. `restartSecret` signs calls of its hook and is returned once."""
    answer = services.register(
        TABLES.main,
        call,
        CLOUD,
        _vault(),
        new=NewService(body.name, body.healthUrl, body.restartUrl, body.logGroup),
        own=_own_hosts(request),
        answered=lambda new: written(_created(new), status=201),
    )
    return send(answer)


@door.route("DELETE", "/api/services/{name}", needs=managing("services:write"), status=204)
async def remove(call: Caller, name: ServiceName) -> None:
    """Remove a registered service."""
    services.remove(TABLES.main, call, CLOUD, name=name)


@cache
def _vault() -> Vault:
    return vaults.vault(TABLES.main)


def _own_hosts(request: Request) -> tuple[str, ...]:
    """Return the host that received the request: checks must not call this API."""
    host = request.scope["aws.event"]["requestContext"].get("domainName")
    return (host,) if host else ()


def _created(new: RegisteredService) -> CreatedService:
    secret = {} if new.secret is None else {"restartSecret": new.secret}
    return CreatedService(**_view(new.checked), **secret)


def _view(checked: CheckedService) -> dict[str, Any]:
    service, health = checked.service, checked.health
    return {
        "name": service.name,
        "kind": service.kind,
        "status": health.status,
        "healthy": health.status is ServiceStatus.RUNNING,
        "listening": health.listening,
        "healthUrl": service.health_url or None,
        "latencyMs": health.latency_ms,
        "lastChecked": rfc3339(health.checked_at) if health.checked_at else None,
        "logGroup": service.log_group or health.log_group or None,
        "detail": health.detail or None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
