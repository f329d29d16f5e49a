"""List, check, register and remove services, and look at the machine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.aws import control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.core import settings
from gatehouse.core.errors import BadInput, BoundReached, Conflict, Forbidden, NotFound, Unavailable
from gatehouse.core.request import Answered, Call
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table
from gatehouse.outbound import client as outbound
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place, Purpose
from gatehouse.services import discovery, health_checks, health_rules, rules, store
from gatehouse.services.adapters import cloudwatch
from gatehouse.services.adapters import machine as this_machine
from gatehouse.services.model import (
    LOGS_TAG,
    MOST_SERVICES,
    TAG,
    Health,
    Host,
    Kind,
    Registered,
    Seen,
    Service,
    Wish,
)

named = discovery.named
log_group = discovery.log_group

_LIST_WITHIN = 0.8  # seconds of a list's second
_TICK = 0.05


def listing(table: Table, call: Call, cloud: Cloud) -> list[Seen]:
    """List the caller's services in name order, each checked in the last half minute.

    Whoever finds checks that are older makes new ones, others at the same time wait for those.
    A service that has not answered by then shows what was known of it.
    """
    account_id = call.caller.account_id
    kept = store.kept(table, account_id)
    registered = store.all_of(table, account_id)
    services = rules.together(registered, kept.found if call.caller.operator else ())
    known = kept.health_of(services)
    searching = call.caller.operator and rules.is_search_due(kept.found_at, call.now)
    due = rules.to_check(services, known, now=call.now)
    if not due and not searching:
        return _shown(services, known, call)
    if not store.lease(
        table, account_id, store.HEALTH, seen=kept, holder=call.request_id, now=call.now
    ):
        return _by_another(table, call, services)
    if call.caller.operator:
        # An environment pays for these once; nobody is silent meanwhile.
        for make in (cloud.tagging, cloud.lambdas, cloud.cloudwatch, cloud.ecs):
            make()
    until = time.monotonic() + _LIST_WITHIN
    with health_checks.Round(cloud, known, now=call.now, until=until) as checks:
        # They take longest, and are known before a search ends.
        checks.check(one for one in due if one.kind is Kind.HTTP)
        if call.caller.operator:
            found = discovery.searched(table, call, cloud, kept=kept)
            services = rules.together(registered, found)
            known = kept.health_of(services)
            due = rules.to_check(services, known, now=call.now)
        checks.check(one for one in due if one.kind is not Kind.HTTP)
        known |= checks.results()
    origins = {one.name: one.origin for one in services}
    health = {name: (origins[name], one) for name, one in known.items() if name in origins}
    store.keep_health(table, account_id, health, holder=call.request_id)
    return _shown(services, known, call)


def _by_another(table: Table, call: Call, services: Sequence[Service]) -> list[Seen]:
    """Show what another request, which is checking just now, has found so far or will find."""
    until = time.monotonic() + _LIST_WITHIN
    account_id = call.caller.account_id
    while True:
        kept = store.kept(table, account_id)
        if call.caller.operator:
            own = [one for one in services if one.kind is Kind.HTTP]
            services = rules.together(own, kept.found)
        known = kept.health_of(services)
        complete = len(known) == len(services) and (kept.found_at or not call.caller.operator)
        if complete or time.monotonic() > until:
            return _shown(services, known, call)
        time.sleep(_TICK)


def _shown(services: Sequence[Service], known: dict[str, Health], call: Call) -> list[Seen]:
    return [rules.seen(one, known.get(one.name), now=call.now) for one in services]


def check(table: Table, call: Call, cloud: Cloud, *, name: str) -> Seen:
    """Check one service now. Raises NotFound, BadInput for what is no name."""
    service = discovery.named(table, call, cloud, name=name)
    return Seen(service, health_checks.look(call, cloud, service=service))


def register(
    table: Table,
    call: Call,
    cloud: Cloud,
    vault: Vault,
    *,
    wish: Wish,
    own: Iterable[str],
    answered: Callable[[Registered], Answered],
) -> Answered:
    """Register an HTTP service, check it, and give the answer, which `answered` writes.

    The secret of a restart hook is in it once; an answer without one is kept for a repeat under
    its Idempotency-Key. `own` are hosts that must not be called. Raises BadInput that names the
    field, Forbidden for a log group of another account than the operator's, Conflict where the
    name is taken, BoundReached, IdempotencyReused and Replay.
    """
    idempotency.check(table, call.guard)
    service = Service(
        name=rules.name_of(wish.name),
        account_id=call.caller.account_id,
        kind=Kind.HTTP,
        health_url=_callable(wish.health_url, field="healthUrl", own=own),
        restart_url=_callable(wish.restart_url, field="restartUrl", own=own)
        if wish.restart_url
        else "",
        log_group=_log_group(call, cloud, wish.log_group) if wish.log_group else "",
        created_at=call.now,
    )
    _check_free(table, call, cloud, service)
    writes = store.create(table, service)
    secret = None
    if service.restart_url:
        secret = rules.secret_text(secrets.token_bytes(rules.SECRET_BYTES))
        writes["secret"] = secret_writes.put_new(table, vault, place(service), secret)
    seen = Seen(service, health_checks.look(call, cloud, service=service))
    answer = answered(Registered(seen, secret))
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
        if "count" in refused.failed:
            raise BoundReached(
                f"An account has at most {MOST_SERVICES} registered services"
            ) from refused
        raise _taken(service) from refused
    return answer


def _claim(call: Call, service: Service, *, answer: Answered | None) -> audit.Claim | None:
    return audit.Claim(call.guard, rules.target(service), answer) if call.guard else None


def _callable(url: str, *, field: str, own: Iterable[str]) -> str:
    checked = outbound.checked_url(url, field=field, own=own)
    outbound.check_host(checked, field=field, own=own)
    return checked


def _log_group(call: Call, cloud: Cloud, text: str) -> str:
    """Check that a log group may be named: by the operator, and one that says so itself."""
    if not call.caller.operator:
        raise Forbidden("logGroup may be named by the operator's account only")
    group = rules.log_group_of(text)
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
    """Refuse a name that is taken already; the write itself is the judge of two at once."""
    try:
        discovery.named(table, call, cloud, name=service.name)
    except NotFound:
        return
    raise _taken(service)


def _taken(service: Service) -> Conflict:
    return Conflict(f'Service "{service.name}" exists')


def remove(table: Table, call: Call, cloud: Cloud, *, name: str) -> None:
    """End a registration, and forget the secret of its hook."""
    service = discovery.named(table, call, cloud, name=name)
    if service.kind is not Kind.HTTP:
        raise Conflict(
            f'Service "{service.name}" was found by its tag {TAG}: take the tag away instead'
        )
    writes = store.remove(table, service)
    if service.restart_url:
        writes["secret"] = secret_writes.remove(table, place(service))
    try:
        audit.commit(
            table,
            service.account_id,
            writes=writes,
            changes=[
                Change("service.delete", rules.target(service), before=rules.audit_view(service))
            ],
            origin=Origin.of(call),
            now=call.now,
        )
    except audit.Refused as refused:
        raise NotFound(f'Service "{service.name}" not found') from refused


def place(service: Service) -> Place:
    """Say where the secret of a service's restart hook is kept."""
    return Place(Purpose.SERVICE, service.account_id, service.name)


def machine(call: Call, cloud: Cloud) -> Host:
    """Look at the machines, by CloudWatch's agent or Container Insights, else at this one."""
    if not call.caller.operator:
        raise Forbidden("System metrics are the operator's account's alone")
    client = cloud.cloudwatch()
    for namespace, metrics, judge in (
        (health_rules.AGENT, health_rules.AGENT_METRICS, health_rules.agent),
        (health_rules.INSIGHTS, health_rules.INSIGHTS_METRICS, health_rules.insights),
    ):
        try:
            samples = cloudwatch.machines(client, namespace, metrics=metrics, now=call.now)
        except control_plane.ControlPlaneError:
            break
        host = judge(samples)
        if host is not None:
            return host
    return this_machine.measure()
