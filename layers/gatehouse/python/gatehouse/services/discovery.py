"""Find an account's services: those it registered, and the operator's tagged ones."""

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
from gatehouse.services.store import ServiceCache

_PATIENCE = 0.4  # seconds that a list waits for a search when it has an older result
_LONGEST = 2.0  # seconds that a list waits for a search when it has none
_TICK = 0.05


def get_service(table: Table, call: Call, cloud: Cloud, *, name: str) -> Service:
    """Return the caller's service. Raises NotFound, and BadInput for an invalid name."""
    wanted = rules.check_name(name)
    account_id = call.caller.account_id
    service = store.find(table, account_id, wanted)
    if service is None and call.caller.operator:
        cache = store.read_cache(table, account_id)
        services = list_tagged(table, call, cloud, cache=cache)
        service = next((one for one in services if one.name == wanted), None)
    if service is None:
        raise NotFound(f'Service "{wanted}" not found')
    return service


def find_log_group(table: Table, call: Call, cloud: Cloud, *, name: str) -> str | None:
    """Return the log group of the caller's service; None if it has none that can be watched.

    Raises NotFound, and BadInput for an invalid name.
    """
    service = get_service(table, call, cloud, name=name)
    if service.kind is Kind.HTTP or not service.logs:
        return service.log_group or None
    known = store.read_cache(table, call.caller.account_id).health_of([service]).get(service.name)
    if known is None or not known.log_group or rules.is_forgotten(known, call.now):
        known = health_checks.check_one(call, cloud, service=service)
    return known.log_group or None


def list_tagged(
    table: Table, call: Call, cloud: Cloud, *, cache: ServiceCache
) -> tuple[Service, ...]:
    """Return the operator's tagged services: cached for half a minute, otherwise searched now.

    If the search fails or takes too long, the older result is used. Raises Unavailable if there is
    none.
    """
    if not rules.is_search_due(cache.found_at, call.now):
        return cache.found
    account_id = call.caller.account_id
    if not store.take_lease(
        table, account_id, store.FOUND, seen=cache, holder=call.request_id, now=call.now
    ):
        return _wait_for_other(table, call, cache)
    client = cloud.tagging()
    pool = ThreadPoolExecutor(1)
    try:
        search = pool.submit(tagging.search, client)
        tagged = search.result(timeout=_PATIENCE if cache.found_at else _LONGEST)
    except (control_plane.ControlPlaneError, TimeoutError) as error:
        logger.warning("search_failed", reason=str(error) or "too slow")
        if cache.found_at:
            return cache.found
        raise Unavailable from error
    finally:
        pool.shutdown(wait=False)
    services = tuple(rules.services_of(tagged, account_id=account_id))
    store.save_found(table, account_id, services, holder=call.request_id, now=call.now)
    return services


def _wait_for_other(table: Table, call: Call, cache: ServiceCache) -> tuple[Service, ...]:
    """Return the last result; if there is none, wait for the request that is searching now."""
    until = time.monotonic() + _LONGEST
    while not cache.found_at:
        if time.monotonic() > until:
            raise Unavailable
        time.sleep(_TICK)
        cache = store.read_cache(table, call.caller.account_id)
    return cache.found
