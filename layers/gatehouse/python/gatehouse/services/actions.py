"""List, check, register and remove services, and read the metrics of the machines."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.aws import control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.core import reach, settings
from gatehouse.core.errors import BadInput, BoundReached, Conflict, Forbidden, NotFound, Unavailable
from gatehouse.core.maker import Maker
from gatehouse.core.reach import Reach
from gatehouse.core.request import Answered, Call
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.outbound import client as outbound
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.actions import Vault
from gatehouse.services import discovery, health_checks, health_rules, removal, rules, store
from gatehouse.services.adapters import cloudwatch, machine
from gatehouse.services.model import (
    LOGS_TAG,
    MOST_SERVICES,
    TAG,
    CheckedService,
    HealthCheck,
    Host,
    Kind,
    NewService,
    RegisteredService,
    Service,
)

_LIST_WITHIN = 0.8  # seconds: a list should answer within one second
_TICK = 0.05


def list_services(table: Table, call: Call, cloud: Cloud) -> list[CheckedService]:
    """Return the caller's services in name order, with checks of the last half minute.

    One request at a time renews older checks, others wait for its results. A service whose check is
    not finished in time is returned with its last known health.
    """
    account_id = call.caller.account_id
    cache = store.read_cache(table, account_id)
    registered = store.list_registered(table, account_id)
    services = rules.merge(registered, cache.found if call.caller.operator else ())
    known = cache.health_of(services)
    searching = call.caller.operator and rules.is_search_due(cache.found_at, call.now)
    due = rules.due_checks(services, known, now=call.now)
    if not due and not searching:
        return _with_health(services, known, call)
    if not store.take_lease(
        table, account_id, store.HEALTH, seen=cache, holder=call.request_id, now=call.now
    ):
        return _wait_for_other(table, call, services)
    if call.caller.operator:
        # Making a client takes time once per environment: do it before the deadline starts.
        for make in (cloud.tagging, cloud.lambdas, cloud.cloudwatch, cloud.ecs):
            make()
    until = time.monotonic() + _LIST_WITHIN
    with health_checks.CheckRun(cloud, known, now=call.now, until=until) as checks:
        # These take longest, and do not depend on the search.
        checks.check(one for one in due if one.kind is Kind.HTTP)
        if call.caller.operator:
            tagged = discovery.list_tagged(table, call, cloud, cache=cache)
            services = rules.merge(registered, tagged)
            known = cache.health_of(services)
            due = rules.due_checks(services, known, now=call.now)
        checks.check(one for one in due if one.kind is not Kind.HTTP)
        known |= checks.results()
    origins = {one.name: one.origin for one in services}
    health = {name: (origins[name], one) for name, one in known.items() if name in origins}
    store.save_health(table, account_id, health, holder=call.request_id)
    return _with_health(services, known, call)


def _wait_for_other(table: Table, call: Call, services: Sequence[Service]) -> list[CheckedService]:
    """Return what another request, which is checking now, found; wait while it is incomplete."""
    until = time.monotonic() + _LIST_WITHIN
    account_id = call.caller.account_id
    while True:
        cache = store.read_cache(table, account_id)
        if call.caller.operator:
            own = [one for one in services if one.kind is Kind.HTTP]
            services = rules.merge(own, cache.found)
        known = cache.health_of(services)
        complete = len(known) == len(services) and (cache.found_at or not call.caller.operator)
        if complete or time.monotonic() > until:
            return _with_health(services, known, call)
        time.sleep(_TICK)


def _with_health(
    services: Sequence[Service], known: dict[str, HealthCheck], call: Call
) -> list[CheckedService]:
    return [rules.with_health(one, known.get(one.name), now=call.now) for one in services]


def check(table: Table, call: Call, cloud: Cloud, *, name: str) -> CheckedService:
    """Check one service now. Raises NotFound, and BadInput for an invalid name."""
    service = discovery.get_service(table, call, cloud, name=name)
    return CheckedService(service, health_checks.check_one(call, cloud, service=service))


def register(
    table: Table,
    call: Call,
    cloud: Cloud,
    vault: Vault,
    *,
    new: NewService,
    own: Iterable[str],
    answered: Callable[[RegisteredService], Answered],
) -> Answered:
    """Register an HTTP service, check it, and return the answer, which `answered` makes.

    Only this answer contains the secret of a restart hook. An answer without a secret is stored for
    repeats with the same Idempotency-Key. `own` are hosts of this API, which must not be called.
    Raises BadInput that names the field, Forbidden for a log group unless the caller is the
    operator, GrantsExceeded for a restart hook if the caller's key expires, Conflict if the name is
    taken, BoundReached, IdempotencyReused and Replay.
    """
    idempotency.check(table, call.guard)
    service = Service(
        name=rules.check_name(new.name),
        account_id=call.caller.account_id,
        kind=Kind.HTTP,
        health_url=_check_url(new.health_url, field="healthUrl", own=own),
        restart_url=_check_url(new.restart_url, field="restartUrl", own=own)
        if new.restart_url
        else "",
        log_group=_check_log_group(call, cloud, new.log_group) if new.log_group else "",
        created_at=call.now,
        maker=Maker.of(call.caller),
    )
    if service.restart_url:
        reach.check(Reach.of(call.caller), rules.reach_of_hook())
    _check_free(table, call, cloud, service)
    writes = store.create(table, service) | key_writes.check_caller(table, call)
    secret = None
    if service.restart_url:
        secret = rules.secret_text(secrets.token_bytes(rules.SECRET_BYTES))
        writes["secret"] = secret_writes.put_new(
            table, vault, removal.secret_place(service), secret
        )
    checked = CheckedService(service, health_checks.check_one(call, cloud, service=service))
    answer = answered(RegisteredService(checked, secret))
    try:
        audit.commit(
            table,
            service.account_id,
            writes=writes,
            changes=[
                Change("service.create", rules.target(service), after=rules.audit_view(service))
            ],
            origin=Origin.of(call),
            now=call.now,
            claim=_claim(call, service, answer=None if secret else answer),
        )
    except audit.Refused as refused:
        keys.refuse_ended(refused)
        if "count" in refused.failed:
            raise BoundReached(
                f"An account has at most {MOST_SERVICES} registered services"
            ) from refused
        raise _taken(service) from refused
    return answer


def _claim(call: Call, service: Service, *, answer: Answered | None) -> audit.Claim | None:
    return audit.Claim(call.guard, rules.target(service), answer) if call.guard else None


def _check_url(url: str, *, field: str, own: Iterable[str]) -> str:
    checked = outbound.checked_url(url, field=field, own=own)
    outbound.check_host(checked, field=field, own=own)
    return checked


def _check_log_group(call: Call, cloud: Cloud, text: str) -> str:
    """Check that the caller is the operator and that the log group carries the service tag."""
    if not call.caller.operator:
        raise Forbidden("Only the operator's account can set logGroup")
    group = rules.check_log_group(text)
    arn = settings.LOG_GROUPS.text() + group
    refused = BadInput(
        f"logGroup must be a log group of this region that carries the tag {TAG}",
        details={"field": "logGroup"},
    )
    try:
        tags = control_plane.call(cloud.logs().list_tags_for_resource, resourceArn=arn)["tags"]
    except control_plane.ResourceMissing as missing:
        raise refused from missing
    except (control_plane.ControlPlaneBusy, control_plane.NoAnswer) as failed:
        raise Unavailable from failed
    if TAG not in tags or tags.get(LOGS_TAG) == "off":
        raise refused
    return group


def _check_free(table: Table, call: Call, cloud: Cloud, service: Service) -> None:
    """Raise Conflict if the name is taken. The write's condition decides between two at once."""
    try:
        discovery.get_service(table, call, cloud, name=service.name)
    except NotFound:
        return
    raise _taken(service)


def _taken(service: Service) -> Conflict:
    return Conflict(f'Service "{service.name}" exists')


def remove(table: Table, call: Call, cloud: Cloud, *, name: str) -> None:
    """Remove a registration and the secret of its restart hook."""
    service = discovery.get_service(table, call, cloud, name=name)
    if service.kind is not Kind.HTTP:
        raise Conflict(f'Service "{service.name}" was found by its tag: remove {TAG} from it')
    if not removal.remove(table, service, origin=Origin.of(call), now=call.now):
        raise NotFound(f'Service "{service.name}" not found')


def get_host(call: Call, cloud: Cloud) -> Host:
    """Return the metrics of the machines from CloudWatch, or else of this environment.

    CloudWatch has them from its agent, or from Container Insights. Raises Forbidden unless the
    caller is the operator.
    """
    if not call.caller.operator:
        raise Forbidden("Only the operator's account can read system metrics")
    client = cloud.cloudwatch()
    for namespace, metrics, host_of in (
        (health_rules.AGENT, health_rules.AGENT_METRICS, health_rules.agent_host),
        (health_rules.INSIGHTS, health_rules.INSIGHTS_METRICS, health_rules.insights_host),
    ):
        try:
            samples = cloudwatch.read_samples(client, namespace, metrics=metrics, now=call.now)
        except control_plane.ControlPlaneError:
            break
        host = host_of(samples)
        if host is not None:
            return host
    return machine.measure()
