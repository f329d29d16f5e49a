"""Registrations, `SERVICE#<account>` by name, and cached results, `SERVICE#<account>#KEPT`.

There are two cached items: the services found by tag, and the results of checks. A request that
finds one too old takes the lease on it and renews it, so that many callers at once cause one round
of requests to AWS and to the services. They are compressed JSON: DynamoDB bills by the kilobyte,
and the entries of 200 services are much alike.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.maker import Maker
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.services.model import MOST_SERVICES, HealthCheck, Kind, Service, ServiceStatus

FOUND, HEALTH = "FOUND", "HEALTH"  # sort keys of the two cached items

_LEASE: Micros = 3 * SECOND


@dataclass(frozen=True, slots=True)
class ServiceCache:
    """The two cached items of an account. `found_at` 0: no search has been made yet.

    `health` maps a name to the origin of the checked service and the result of the check.
    `versions` counts the writes of each item.
    """

    found: tuple[Service, ...] = ()
    found_at: Micros = 0
    health: Mapping[str, tuple[str, HealthCheck]] | None = None
    versions: Mapping[str, int] = field(default_factory=dict)

    def health_of(self, services: Iterable[Service]) -> dict[str, HealthCheck]:
        """Return the checks of exactly these services, not of others that had their names."""
        known = self.health or {}
        return {
            one.name: known[one.name][1]
            for one in services
            if one.name in known and known[one.name][0] == one.origin
        }


# ---- Registrations -----------------------------------------------------------------------------


def find(table: Table, account_id: str, name: str) -> Service | None:
    """Read a registered service, consistently."""
    item = table.get(_key(account_id, name))
    return None if item is None else _from_item(item)


def list_registered(table: Table, account_id: str) -> list[Service]:
    """Read an account's registered services in name order."""
    return [_from_item(item) for item in table.query_all(keyspace.SERVICE.pk(account_id))]


def create(table: Table, service: Service) -> dict[str, Write]:
    """Return the writes of a new registration."""
    item: Item = {
        **_key(service.account_id, service.name),
        "health_url": service.health_url,
        "restart_url": service.restart_url,
        "log_group": service.log_group,
        "created_at": service.created_at,
        "created_by": service.maker.created_by,
        "created_by_key": service.maker.created_by_key,
    }
    return {
        "service": table.put_new(item),
        "count": counters.move(table, counter(service.account_id), by=1, most=MOST_SERVICES),
    }


def remove(table: Table, service: Service) -> dict[str, Write]:
    """Return the writes that remove a registration, if it is still the one that was read."""
    return {
        "service": table.delete_if(
            _key(service.account_id, service.name),
            condition="created_at = :created_at",
            names={},
            values={":created_at": service.created_at},
        ),
    }


def counter(account_id: str) -> str:
    """Return the partition key that names the counter of registered services."""
    return keyspace.SERVICE.pk(account_id)


# ---- Cached results ----------------------------------------------------------------------------


def read_cache(table: Table, account_id: str) -> ServiceCache:
    """Read both cached items, consistently, whatever their age."""
    items, _ = table.query(_cache_pk(account_id), limit=2)
    by_kind = {item["sk"]: _unpack(item) for item in items if "body" in item}
    found = by_kind.get(FOUND, {"at": 0, "services": []})
    health = by_kind.get(HEALTH, {"services": {}})
    return ServiceCache(
        found=tuple(
            Service(account_id=account_id, **{**fields, "kind": Kind(fields["kind"])})
            for fields in found["services"]
        ),
        found_at=found["at"],
        health={
            name: (origin, HealthCheck(**{**fields, "status": ServiceStatus(fields["status"])}))
            for name, (origin, fields) in health["services"].items()
        },
        versions={item["sk"]: item["version"] for item in items if "version" in item},
    )


def take_lease(
    table: Table, account_id: str, what: str, *, seen: ServiceCache, holder: str, now: Micros
) -> bool:
    """Take the right to write a cached item for three seconds.

    Returns False if another request holds it, or has written the item since it was read.
    """
    version = seen.versions.get(what)
    free = "(attribute_not_exists(leased_until) OR leased_until < :now)"
    unchanged = "attribute_not_exists(version)" if version is None else "version = :version"
    values = {":holder": holder, ":until": now + _LEASE, ":now": now}
    try:
        table.update(
            _cache_key(account_id, what),
            "SET holder = :holder, leased_until = :until",
            condition=f"{free} AND {unchanged}",
            names={},
            values=values if version is None else values | {":version": version},
        )
    except ConditionFailed:
        return False
    return True


def save_found(
    table: Table, account_id: str, services: Iterable[Service], *, holder: str, now: Micros
) -> None:
    """Write the services that were found by tag, and release the lease."""
    entries = [
        {
            "name": one.name,
            "kind": one.kind.value,
            "arn": one.arn,
            "alias": one.alias,
            "logs": one.logs,
        }
        for one in services
    ]
    _save(table, account_id, FOUND, holder=holder, value={"at": now, "services": entries})


def save_health(
    table: Table,
    account_id: str,
    health: Mapping[str, tuple[str, HealthCheck]],
    *,
    holder: str,
) -> None:
    """Write the results of checks, by name and with the service's origin, and release the lease."""
    entries = {name: (origin, asdict(one)) for name, (origin, one) in health.items()}
    _save(table, account_id, HEALTH, holder=holder, value={"services": entries})


def _save(table: Table, account_id: str, what: str, *, holder: str, value: Any) -> None:
    try:
        table.update(
            _cache_key(account_id, what),
            "SET body = :body, version = if_not_exists(version, :zero) + :one"
            " REMOVE holder, leased_until",
            condition="holder = :holder",
            names={},
            values={":holder": holder, ":body": _pack(value), ":zero": 0, ":one": 1},
        )
    except ConditionFailed:
        # The lease ran out and another request took it: its result is newer.
        return


def _pack(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode())


def _unpack(item: Item) -> Any:
    return json.loads(zlib.decompress(item["body"]))


def _from_item(item: Item) -> Service:
    return Service(
        name=item["sk"],
        account_id=keyspace.SERVICE.rest_of(item["pk"]),
        kind=Kind.HTTP,
        health_url=item["health_url"],
        restart_url=item["restart_url"],
        log_group=item["log_group"],
        created_at=item["created_at"],
        maker=Maker(item["created_by"], item["created_by_key"]),
    )


def _key(account_id: str, name: str) -> dict[str, str]:
    return {"pk": keyspace.SERVICE.pk(account_id), "sk": name}


def _cache_key(account_id: str, what: str) -> dict[str, str]:
    return {"pk": _cache_pk(account_id), "sk": what}


def _cache_pk(account_id: str) -> str:
    return keyspace.SERVICE.pk(account_id, "KEPT")
