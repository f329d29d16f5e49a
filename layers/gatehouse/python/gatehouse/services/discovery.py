"""Find an account's services: those it registered, and the operator's by their tags."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from gatehouse.aws import control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.core.errors import NotFound, Unavailable
from gatehouse.core.observe import logger
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table
from gatehouse.services import health_checks, rules, store
from gatehouse.services.adapters import tagging
from gatehouse.services.model import Kind, Service
from gatehouse.services.store import Kept

_PATIENCE = 0.4  # seconds that a list waits for a search while it knows an older one
_LONGEST = 2.0  # seconds that anybody waits for one
_TICK = 0.05


def named(table: Table, call: Call, cloud: Cloud, *, name: str) -> Service:
    """Give the caller's service of a name, or raise NotFound."""
    wanted = rules.name_of(name)
    account_id = call.caller.account_id
    service = store.read(table, account_id, wanted)
    if service is None and call.caller.operator:
        kept = store.kept(table, account_id)
        services = searched(table, call, cloud, kept=kept)
        service = next((one for one in services if one.name == wanted), None)
    if service is None:
        raise NotFound(f'Service "{wanted}" not found')
    return service


def log_group(table: Table, call: Call, cloud: Cloud, *, name: str) -> str | None:
    """Name the log group of the caller's service; None where it has none, or none to be watched.

    Raises NotFound, and BadInput for what is no name.
    """
    service = named(table, call, cloud, name=name)
    if service.kind is Kind.HTTP or not service.logs:
        return service.log_group or None
    known = store.kept(table, call.caller.account_id).health_of([service]).get(service.name)
    if known is None or not known.log_group or rules.is_forgotten(known, call.now):
        known = health_checks.look(call, cloud, service=service)
    return known.log_group or None


def searched(table: Table, call: Call, cloud: Cloud, *, kept: Kept) -> tuple[Service, ...]:
    """Give the operator's tagged services: as kept for half a minute, or searched now.

    Where the search fails or takes too long the older one stands; Unavailable where there is none.
    """
    if not rules.is_search_due(kept.found_at, call.now):
        return kept.found
    account_id = call.caller.account_id
    if not store.lease(
        table, account_id, store.FOUND, seen=kept, holder=call.request_id, now=call.now
    ):
        return _of_another(table, call, kept)
    client = cloud.tagging()
    pool = ThreadPoolExecutor(1)
    try:
        search = pool.submit(tagging.search, client)
        found = search.result(timeout=_PATIENCE if kept.found_at else _LONGEST)
    except (control_plane.ControlPlaneError, TimeoutError) as error:
        logger.warning("search_failed", reason=str(error) or "too slow")
        if kept.found_at:
            return kept.found
        raise Unavailable from error
    finally:
        pool.shutdown(wait=False)
    services = tuple(rules.found(found, account_id=account_id))
    store.keep_found(table, account_id, services, holder=call.request_id, now=call.now)
    return services


def _of_another(table: Table, call: Call, kept: Kept) -> tuple[Service, ...]:
    """Wait for whoever searches just now, if nothing is known at all."""
    until = time.monotonic() + _LONGEST
    while not kept.found_at:
        if time.monotonic() > until:
            raise Unavailable
        time.sleep(_TICK)
        kept = store.kept(table, call.caller.account_id)
    return kept.found
