"""Removes registered services: one, or those with a restart hook that keys registered.

Imports no cipher and no control plane.
"""

from __future__ import annotations

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.maker import Makers, select
from gatehouse.dynamo.table import Table
from gatehouse.outbound.origins import origin_of
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.model import Place, Purpose
from gatehouse.services import rules, store
from gatehouse.services.model import Service


def remove(table: Table, service: Service, *, origin: Origin, now: Micros) -> bool:
    """Remove a registration and the secret of its hook; False if it was removed already."""
    writes = store.remove(table, service)
    if service.restart_url:
        writes["secret"] = secret_writes.remove(table, secret_place(service))
    try:
        endings.end(
            table,
            service.account_id,
            writes=writes,
            changes=[
                Change("service.delete", rules.target(service), before=rules.audit_view(service))
            ],
            counts={store.counter(service.account_id): 1},
            origin=origin,
            now=now,
        )
    except audit.Refused:
        return False
    return True


def end_made(
    table: Table, account_id: str, by: Makers, *, origin: Origin, now: Micros
) -> list[str]:
    """Remove the services with a restart hook that these makers registered; return their ids.

    Without a hook, a service leaves nothing behind that acts or receives. May run again.
    """
    hooked = [one for one in store.list_registered(table, account_id) if one.restart_url]
    return [
        rules.target(service)
        for service in select(hooked, by)
        if remove(table, service, origin=origin, now=now)
    ]


def secret_place(service: Service) -> Place:
    """Return where the secret of a service's restart hook is stored, bound to the hook's origin."""
    origin = origin_of(service.restart_url)
    return Place(Purpose.SERVICE, service.account_id, service.name, origin)
