"""Names, what was found, and when to look again. Pure: `now` is an argument."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from gatehouse.core.clock import MINUTE, SECOND, Micros
from gatehouse.core.errors import BadInput
from gatehouse.services.model import (
    ALIAS_TAG,
    LOGS_TAG,
    TAG,
    Health,
    Kind,
    Seen,
    Service,
    Status,
    Tagged,
)
from gatehouse.webhooks import signing

FRESH: Micros = 30 * SECOND  # how old a check, or a search, may be that a list shows
FORGOTTEN: Micros = 5 * MINUTE  # how old a check may be that still says anything
SECRET_BYTES = 32
UNCHECKED = Health(Status.DEGRADED, listening=False, detail="Not checked yet")

# Of 100 reads of functions that an AWS account has in a second.
MOST_READS = 90

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
# Paths of the surface, which would hide a service of the name.
_RESERVED = frozenset({"list", "metrics"})
_LOG_GROUP = re.compile(r"[A-Za-z0-9_/.#-]{1,512}", re.ASCII)


def is_name(text: str) -> bool:
    """Tell whether this can be a service's name: lower-case letters, digits, inner hyphens."""
    return _NAME.fullmatch(text) is not None and text not in _RESERVED


def name_of(text: str) -> str:
    """Check a name as it came."""
    if not is_name(text):
        raise BadInput("Invalid service name", details={"field": "name"})
    return text


def log_group_of(text: str) -> str:
    """Check a log group's name as it came."""
    if not _LOG_GROUP.fullmatch(text):
        raise BadInput("logGroup is not the name of a log group", details={"field": "logGroup"})
    return text


def secret_text(key: bytes) -> str:
    """Write a hook's secret as it is shown once."""
    return signing.PREFIX + base64.b64encode(key).decode()


# ---- What was found ----------------------------------------------------------------------------


def found(tagged: Iterable[Tagged], *, account_id: str) -> list[Service]:
    """Read services off what carries the tag, by name; of two with one name the first ARN's."""
    services: dict[str, Service] = {}
    for one in sorted(tagged, key=lambda entry: entry.arn):
        service = _found(one, account_id)
        if service is not None:
            services.setdefault(service.name, service)
    return [services[name] for name in sorted(services)]


def _found(tagged: Tagged, account_id: str) -> Service | None:
    """Read one; None where name or ARN are none of ours, as an ECS ARN of the old form."""
    # Stacks may have capitals in their names, which their functions' tags then have too.
    name = tagged.tags.get(TAG, "").strip().lower()
    owner, _, rest = tagged.arn.partition(":function:")
    if owner.startswith("arn:") and re.fullmatch(r"[\w-]+", rest, re.ASCII):
        kind = Kind.LAMBDA
    elif re.search(r":ecs:.*:service/[^/]+/[^/]+$", tagged.arn):
        kind = Kind.ECS
    else:
        return None
    if not is_name(name):
        return None
    return Service(
        name=name,
        account_id=account_id,
        kind=kind,
        arn=tagged.arn,
        alias=tagged.tags.get(ALIAS_TAG, "").strip(),
        logs=tagged.tags.get(LOGS_TAG, "").strip().lower() != "off",
    )


def together(registered: Iterable[Service], searched: Iterable[Service]) -> list[Service]:
    """Put both together in name order. A registered one hides a later one of its name."""
    services = {one.name: one for one in searched} | {one.name: one for one in registered}
    return [services[name] for name in sorted(services)]


# ---- When to look again ------------------------------------------------------------------------


def is_search_due(found_at: Micros, now: Micros) -> bool:
    """Tell whether what was found is too old; `found_at` 0: nobody has searched yet."""
    return now - found_at > FRESH


def is_stale(health: Health | None, now: Micros) -> bool:
    """Tell whether a check is too old to be shown as it is."""
    return health is None or now - health.checked_at > FRESH


def is_forgotten(health: Health, now: Micros) -> bool:
    """Tell whether a check is too old to say anything."""
    return now - health.checked_at > FORGOTTEN


def to_check(
    services: Iterable[Service], known: Mapping[str, Health], *, now: Micros
) -> list[Service]:
    """Choose what to check again and order it: whoever kept us waiting last time comes last.

    Of functions at most 90, those first that were not looked at for longest.
    """
    stale = [one for one in services if is_stale(known.get(one.name), now)]

    def turn(service: Service) -> tuple[bool, Micros]:
        health = known.get(service.name)
        return (False, 0) if health is None else (not health.listening, health.checked_at)

    stale.sort(key=turn)
    reads = sorted(
        (one for one in stale if one.kind is Kind.LAMBDA), key=lambda service: turn(service)[1]
    )
    left_out = {one.name for one in reads[MOST_READS:]}
    return [one for one in stale if one.name not in left_out]


def seen(service: Service, health: Health | None, *, now: Micros) -> Seen:
    """Show a service with what is known of it; what is known no longer says so."""
    if health is None:
        return Seen(service, UNCHECKED)
    if health.status is Status.RUNNING and is_forgotten(health, now):
        minutes = (now - health.checked_at) // MINUTE
        health = Health(
            Status.DEGRADED,
            listening=False,
            detail=f"Not checked for {minutes} minutes",
            log_group=health.log_group,
            checked_at=health.checked_at,
        )
    return Seen(service, health)


def chunks(services: Sequence[Service], size: int) -> list[Sequence[Service]]:
    """Cut a list into pieces of at most `size`."""
    return [services[start : start + size] for start in range(0, len(services), size)]


# ---- The audit trail ---------------------------------------------------------------------------


def target(service: Service) -> str:
    """Name a service in the audit trail."""
    return f"service:{service.name}"


def audit_view(service: Service) -> dict[str, Any]:
    """Show a registered service in an audit event; a query may hold a token, so it is left out."""
    return {
        "name": service.name,
        "kind": service.kind.value,
        "health_url": _without_query(service.health_url),
        "restart_url": _without_query(service.restart_url) or None,
        "log_group": service.log_group or None,
    }


def _without_query(url: str) -> str:
    return urlsplit(url)._replace(query="", fragment="").geturl() if url else ""
