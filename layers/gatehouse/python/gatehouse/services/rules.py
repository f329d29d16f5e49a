"""Names of services, services read from tags, and which checks are due. Pure: `now` is passed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants
from gatehouse.core.reach import NO_REQUESTS, Reach
from gatehouse.services.model import (
    ALIAS_TAG,
    LOGS_TAG,
    TAG,
    CheckedService,
    HealthCheck,
    Kind,
    Service,
    ServiceStatus,
    TaggedResource,
)
from gatehouse.webhooks.model import SECRET_PREFIX

FRESH: Micros = 30 * SECOND  # the age up to which a list shows a check, or uses a search
FORGOTTEN: Micros = 5 * MINUTE  # the age after which a list no longer trusts `running`
SECRET_BYTES = 32
UNCHECKED = HealthCheck(ServiceStatus.DEGRADED, listening=False, detail="Not checked yet")

# Lambda answers 100 GetFunction requests a second for one AWS account.
MOST_READS = 90

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
# Paths of the API that would hide a service with this name.
_RESERVED = frozenset({"list", "metrics"})
_LOG_GROUP = re.compile(r"[A-Za-z0-9_/.#-]{1,512}", re.ASCII)


def is_name(text: str) -> bool:
    """Return whether this is a valid name: lower-case letters, digits, inner hyphens, up to 64."""
    return _NAME.fullmatch(text) is not None and text not in _RESERVED


def check_name(text: str) -> str:
    """Return a service's name. Raises BadInput if it is not valid."""
    if not is_name(text):
        raise BadInput("Invalid service name", details={"field": "name"})
    return text


def check_log_group(text: str) -> str:
    """Return a log group's name. Raises BadInput if it is not valid."""
    if not _LOG_GROUP.fullmatch(text):
        raise BadInput(
            "logGroup must be the name of a log group: 1 to 512 of letters, digits and _/.#-",
            details={"field": "logGroup"},
        )
    return text


def secret_text(key: bytes) -> str:
    """Return the text of a restart hook's secret."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


# ---- Services found by their tags --------------------------------------------------------------


def services_of(tagged: Iterable[TaggedResource], *, account_id: str) -> list[Service]:
    """Return the services of tagged resources by name; of two with one name, the first by ARN."""
    services: dict[str, Service] = {}
    for resource in sorted(tagged, key=lambda entry: entry.arn):
        service = _service_of(resource, account_id)
        if service is not None:
            services.setdefault(service.name, service)
    return [services[name] for name in sorted(services)]


def _service_of(resource: TaggedResource, account_id: str) -> Service | None:
    """Return one service; None if the name or the ARN is not supported, as ECS's old short ARN."""
    # Stack names may contain capitals, and so may the tags of their functions.
    name = resource.tags.get(TAG, "").strip().lower()
    owner, _, rest = resource.arn.partition(":function:")
    if owner.startswith("arn:") and re.fullmatch(r"[\w-]+", rest, re.ASCII):
        kind = Kind.LAMBDA
    elif re.search(r":ecs:.*:service/[^/]+/[^/]+$", resource.arn):
        kind = Kind.ECS
    else:
        return None
    if not is_name(name):
        return None
    return Service(
        name=name,
        account_id=account_id,
        kind=kind,
        arn=resource.arn,
        alias=resource.tags.get(ALIAS_TAG, "").strip(),
        logs=resource.tags.get(LOGS_TAG, "").strip().lower() != "off",
    )


def merge(registered: Iterable[Service], tagged: Iterable[Service]) -> list[Service]:
    """Return both in name order. A registered service hides a tagged one with its name."""
    services = {one.name: one for one in tagged} | {one.name: one for one in registered}
    return [services[name] for name in sorted(services)]


# ---- Which checks are due ----------------------------------------------------------------------


def is_search_due(found_at: Micros, now: Micros) -> bool:
    """Return whether the last search is too old; `found_at` 0: there was none yet."""
    return now - found_at > FRESH


def is_stale(health: HealthCheck | None, now: Micros) -> bool:
    """Return whether a check is too old for a list."""
    return health is None or now - health.checked_at > FRESH


def is_forgotten(health: HealthCheck, now: Micros) -> bool:
    """Return whether a check is so old that `running` must not be shown any more."""
    return now - health.checked_at > FORGOTTEN


def due_checks(
    services: Iterable[Service], known: Mapping[str, HealthCheck], *, now: Micros
) -> list[Service]:
    """Return the services to check again, in order: those that did not answer last time come last.

    At most 90 Lambda functions are among them, those with the oldest checks.
    """
    stale = [one for one in services if is_stale(known.get(one.name), now)]

    def order(service: Service) -> tuple[bool, Micros]:
        health = known.get(service.name)
        return (False, 0) if health is None else (not health.listening, health.checked_at)

    stale.sort(key=order)
    reads = sorted(
        (one for one in stale if one.kind is Kind.LAMBDA), key=lambda service: order(service)[1]
    )
    left_out = {one.name for one in reads[MOST_READS:]}
    return [one for one in stale if one.name not in left_out]


def with_health(service: Service, health: HealthCheck | None, *, now: Micros) -> CheckedService:
    """Return a service with its last check; a `running` that is too old becomes `degraded`."""
    if health is None:
        return CheckedService(service, UNCHECKED)
    if health.status is ServiceStatus.RUNNING and is_forgotten(health, now):
        minutes = (now - health.checked_at) // MINUTE
        health = HealthCheck(
            ServiceStatus.DEGRADED,
            listening=False,
            detail=f"Not checked for {minutes} minutes",
            log_group=health.log_group,
            checked_at=health.checked_at,
        )
    return CheckedService(service, health)


def chunks(services: Sequence[Service], size: int) -> list[Sequence[Service]]:
    """Return the list in pieces of at most `size`."""
    return [services[start : start + size] for start in range(0, len(services), size)]


# ---- The audit trail ---------------------------------------------------------------------------


def target(service: Service) -> str:
    """Return the target that names a service in audit events."""
    return f"service:{service.name}"


def reach_of_hook() -> Reach:
    """Return how far any restart hook reaches: it receives signed requests, without end."""
    return Reach(Grants(("services:write",)), None, NO_REQUESTS, concerns=())


def audit_view(service: Service) -> dict[str, Any]:
    """Return what an audit event shows of a registered service.

    URLs are without their query, which may contain a token.
    """
    return {
        "name": service.name,
        "kind": service.kind.value,
        "health_url": _without_query(service.health_url),
        "restart_url": _without_query(service.restart_url) or None,
        "log_group": service.log_group or None,
        "created_by": service.maker.created_by,
        "created_by_key": service.maker.created_by_key,
    }


def _without_query(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl() if url else ""
