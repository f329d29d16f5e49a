"""`SERVICE#<account>` by name; what was found and how everything is, `SERVICE#<account>#KEPT`.

The two kept items are written by whoever finds them too old and gets the lease on them, so that
many callers at once ask AWS and the services themselves once. They are JSON, compressed: DynamoDB
bills by the kilobyte, and 200 services say much the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gatehouse.core.clock import SECOND, Micros
from gatehouse.dynamo import counters, keyspace
from gatehouse.dynamo.table import ConditionFailed, Item, Table, Write
from gatehouse.services.model import MOST_SERVICES, Health, Kind, Service, Status

FOUND, HEALTH = "FOUND", "HEALTH"

_LEASE: Micros = 3 * SECOND


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept. `found_at` 0: nobody has searched yet. `health` tells of which origin.

    `versions` tell how often each of the two was written.
    """

    found: tuple[Service, ...] = ()
    found_at: Micros = 0
    health: Mapping[str, tuple[str, Health]] | None = None
    versions: Mapping[str, int] = field(default_factory=dict)

    def health_of(self, services: Iterable[Service]) -> dict[str, Health]:
        """Give what is known of these very services, not of others that had their names."""
        known = self.health or {}
        return {
            one.name: known[one.name][1]
            for one in services
            if one.name in known and known[one.name][0] == one.origin
        }


# ---- Registrations -----------------------------------------------------------------------------


def read(table: Table, account_id: str, name: str) -> Service | None:
    """Read a registered service, consistently."""
    item = table.get(_key(account_id, name))
    return None if item is None else _from_item(item)


def all_of(table: Table, account_id: str) -> list[Service]:
    """Read an account's registered services in name order."""
    return [_from_item(item) for item in table.query_all(keyspace.SERVICE.pk(account_id))]


def create(table: Table, service: Service) -> dict[str, Write]:
    """Write a new registration."""
    item: Item = {
        **_key(service.account_id, service.name),
        "health_url": service.health_url,
        "restart_url": service.restart_url,
        "log_group": service.log_group,
        "created_at": service.created_at,
    }
    return {
        "service": table.put_new(item),
        "count": _count(table, service, by=1),
    }


def remove(table: Table, service: Service) -> dict[str, Write]:
    """Remove the very registration that was read."""
    return {
        "service": table.delete_if(
            _key(service.account_id, service.name),
            condition="created_at = :created_at",
            names={},
            values={":created_at": service.created_at},
        ),
        "count": _count(table, service, by=-1),
    }


def _count(table: Table, service: Service, *, by: int) -> Write:
    return counters.move(table, keyspace.SERVICE.pk(service.account_id), by=by, most=MOST_SERVICES)


# ---- What is kept for a while ------------------------------------------------------------------


def kept(table: Table, account_id: str) -> Kept:
    """Read what was kept, consistently, whatever its age."""
    items, _ = table.query(keyspace.SERVICE.pk(account_id, "KEPT"), limit=2)
    by_kind = {item["sk"]: _unpacked(item) for item in items if "body" in item}
    found = by_kind.get(FOUND, {"at": 0, "services": []})
    health = by_kind.get(HEALTH, {"services": {}})
    return Kept(
        found=tuple(
            Service(account_id=account_id, **{**said, "kind": Kind(said["kind"])})
            for said in found["services"]
        ),
        found_at=found["at"],
        health={
            name: (origin, Health(**{**said, "status": Status(said["status"])}))
            for name, (origin, said) in health["services"].items()
        },
        versions={item["sk"]: item["version"] for item in items if "version" in item},
    )


def lease(
    table: Table, account_id: str, what: str, *, seen: Kept, holder: str, now: Micros
) -> bool:
    """Take the right to write an item for three seconds.

    False: somebody else has it, or has written it since it was seen.
    """
    version = seen.versions.get(what)
    free = "(attribute_not_exists(leased_until) OR leased_until < :now)"
    unchanged = "attribute_not_exists(version)" if version is None else "version = :version"
    values = {":holder": holder, ":until": now + _LEASE, ":now": now}
    try:
        table.update(
            _kept_key(account_id, what),
            "SET holder = :holder, leased_until = :until",
            condition=f"{free} AND {unchanged}",
            names={},
            values=values if version is None else values | {":version": version},
        )
    except ConditionFailed:
        return False
    return True


def keep_found(
    table: Table, account_id: str, services: Iterable[Service], *, holder: str, now: Micros
) -> None:
    """Keep what was found, and give the lease back."""
    said = [
        {
            "name": one.name,
            "kind": one.kind.value,
            "arn": one.arn,
            "alias": one.alias,
            "logs": one.logs,
        }
        for one in services
    ]
    _keep(table, account_id, FOUND, holder=holder, value={"at": now, "services": said})


def keep_health(
    table: Table,
    account_id: str,
    health: Mapping[str, tuple[str, Health]],
    *,
    holder: str,
) -> None:
    """Keep how services are, by name and origin, and give the lease back."""
    said = {name: (origin, asdict(one)) for name, (origin, one) in health.items()}
    _keep(table, account_id, HEALTH, holder=holder, value={"services": said})


def _keep(table: Table, account_id: str, what: str, *, holder: str, value: Any) -> None:
    try:
        table.update(
            _kept_key(account_id, what),
            "SET body = :body, version = if_not_exists(version, :zero) + :one"
            " REMOVE holder, leased_until",
            condition="holder = :holder",
            names={},
            values={":holder": holder, ":body": _packed(value), ":zero": 0, ":one": 1},
        )
    except ConditionFailed:
        # The lease ran out, and somebody else looked again meanwhile.
        return


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode())


def _unpacked(item: Item) -> Any:
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
    )


def _key(account_id: str, name: str) -> dict[str, str]:
    return {"pk": keyspace.SERVICE.pk(account_id), "sk": name}


def _kept_key(account_id: str, what: str) -> dict[str, str]:
    return {"pk": keyspace.SERVICE.pk(account_id, "KEPT"), "sk": what}
