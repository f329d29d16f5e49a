"""Services in the services dialect: listed, checked, registered, restarted."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from gatehouse.aws import clients
from gatehouse.aws.control_plane import Cloud
from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import NotFound, UpgradeRequired
from gatehouse.dynamo import connection
from gatehouse.policy.actions import managing, scope
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.services import actions as services
from gatehouse.services import restart as restarts
from gatehouse.services.model import Kind, Registered, Seen, Status, Wish
from gatehouse.web.door import Caller, Door
from gatehouse.web.envelopes import Body, written
from gatehouse.web.strict_route import send
from gatehouse.web.surfaces import SERVICES

TABLES = connection.tables()
CLOUD = Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs)

door = Door(SERVICES, title="Services")
handler = door.handler


class NewService(Body):
    """An HTTP service to watch. `restartUrl` is called, signed, when somebody restarts it."""

    name: str = Field(examples=["billing"], description="Lower-case letters, digits, hyphens.")
    healthUrl: str = Field(examples=["https://billing.example/health"])
    restartUrl: str | None = None
    logGroup: str | None = Field(None, description="Of the operator's account only.")


class ServiceView(BaseModel):
    """A service and how it was when it was checked last; `detail` says what is not well."""

    name: str
    kind: Kind
    status: Status
    healthy: bool
    listening: bool
    healthUrl: str | None
    latencyMs: int | None
    lastChecked: str | None
    logGroup: str | None
    detail: str | None


class CreatedService(ServiceView):
    """A new registration. `restartSecret` is there with a hook, and shown once."""

    restartSecret: str | None = None


class RestartView(BaseModel):
    """A restart. `state` is in_progress where it takes longer than a request can."""

    restarted: bool
    service: str
    kind: Kind
    restartedAt: str
    state: str


class Metrics(BaseModel):
    """How the machines are; what the source does not know is null."""

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
    """List services in name order. A state is at most half a minute old, see `lastChecked`."""
    found = services.listing(TABLES.main, call, CLOUD)
    return [ServiceView(**_view(one)) for one in found]


@door.route("GET", "/api/services/metrics", needs=managing("services:read"))
async def metrics(call: Caller) -> Metrics:
    """Tell how the machines are, from CloudWatch where it knows them. The operator's only."""
    host = services.machine(call, CLOUD)
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
async def health(call: Caller, name: str) -> ServiceView:
    """Check one service now."""
    return ServiceView(**_view(services.check(TABLES.main, call, CLOUD, name=name)))


@door.route("GET", "/api/services/{name}/logs", needs=managing("services:read"))
async def logs(call: Caller, name: str) -> None:
    """Ask for a WebSocket: logs are streamed on one, under this very path."""
    if services.log_group(TABLES.main, call, CLOUD, name=name) is None:
        raise NotFound(f'Service "{name}" has no logs to watch')
    # Without the header that goes with it: API Gateway keeps `Upgrade` to itself.
    raise UpgradeRequired("Upgrade Required: connect with a WebSocket")


@door.route("POST", "/api/services/{name}/restart", needs=managing("services:write"))
async def restart(call: Caller, name: str) -> RestartView:
    """Restart a service and wait up to 20 seconds for it."""
    done = restarts.restart(TABLES.main, call, CLOUD, _vault(), name=name)
    return RestartView(
        restarted=True,
        service=done.service.name,
        kind=done.service.kind,
        restartedAt=rfc3339(done.restarted_at),
        state=done.state,
    )


@door.route(
    "POST",
    "/api/services",
    needs=managing("services:write"),
    status=201,
    response_model=CreatedService,
)
async def register(call: Caller, request: Request, body: NewService) -> Response:
    """Register an HTTP service. `restartSecret` signs calls of its hook, and is shown once."""
    answer = services.register(
        TABLES.main,
        call,
        CLOUD,
        _vault(),
        wish=Wish(body.name, body.healthUrl, body.restartUrl, body.logGroup),
        own=_own(request),
        answered=lambda made: written(_created(made), status=201),
    )
    return send(answer)


@door.route("DELETE", "/api/services/{name}", needs=managing("services:write"), status=204)
async def remove(call: Caller, name: str) -> None:
    """Stop to watch a registered service."""
    services.remove(TABLES.main, call, CLOUD, name=name)


@cache
def _vault() -> Vault:
    return vaults.vault(TABLES.main)


def _own(request: Request) -> tuple[str, ...]:
    """Name the host that the request came to: a check must not lead back here."""
    host = request.scope["aws.event"]["requestContext"].get("domainName")
    return (host,) if host else ()


def _created(made: Registered) -> CreatedService:
    secret = {} if made.secret is None else {"restartSecret": made.secret}
    return CreatedService(**_view(made.seen), **secret)


def _view(seen: Seen) -> dict[str, Any]:
    service, found = seen.service, seen.health
    return {
        "name": service.name,
        "kind": service.kind,
        "status": found.status,
        "healthy": found.status is Status.RUNNING,
        "listening": found.listening,
        "healthUrl": service.health_url or None,
        "latencyMs": found.latency_ms,
        "lastChecked": rfc3339(found.checked_at) if found.checked_at else None,
        "logGroup": service.log_group or found.log_group or None,
        "detail": found.detail or None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
