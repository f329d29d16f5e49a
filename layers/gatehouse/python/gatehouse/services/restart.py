"""Restart a service and wait up to twenty seconds; audit events record the start and the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.aws import control_plane
from gatehouse.aws.control_plane import Cloud
from gatehouse.core import clock, ids
from gatehouse.core.errors import Conflict, Unavailable
from gatehouse.core.observe import logger
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table
from gatehouse.outbound import client as outbound
from gatehouse.secrets import actions as vaults
from gatehouse.secrets.actions import Vault
from gatehouse.services import discovery, health_checks, removal, rules
from gatehouse.services.adapters import ecs, lambda_functions
from gatehouse.services.model import (
    RESTARTED_AT,
    FunctionFacts,
    Kind,
    Restart,
    RestartOutcome,
    Service,
    ServiceStatus,
)
from gatehouse.webhooks import signing

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_WITHIN = 20.0  # seconds; API Gateway ends requests after 29
_TICK = 0.5
_ACCEPTED = 202

DONE, IN_PROGRESS, FAILED, UNKNOWN = "done", "in_progress", "failed", "unknown"


class _NotRestartedError(Exception):
    """The restart was not possible; the text says why and is shown to the caller."""


def restart(table: Table, call: Call, cloud: Cloud, vault: Vault, *, name: str) -> Restart:
    """Restart a service.

    Raises NotFound, Conflict if the service has no restart hook or the restart failed, and
    Unavailable if AWS did not say whether it restarted.
    """
    until = time.monotonic() + _WITHIN
    service = discovery.get_service(table, call, cloud, name=name)
    if service.kind is Kind.HTTP and not service.restart_url:
        raise Conflict(f'Service "{service.name}" has no restart hook')
    act: Callable[[], RestartOutcome] = {
        Kind.LAMBDA: partial(_restart_function, cloud, service, call=call, until=until),
        Kind.ECS: partial(_redeploy, cloud, service, until=until),
        Kind.HTTP: partial(
            _call_hook, table, cloud, vault, service=service, call=call, until=until
        ),
    }[service.kind]
    requested = {"kind": service.kind.value, "state": "requested"}
    _record(table, call, Change("service.restart", rules.target(service), after=requested))
    outcome = RestartOutcome(FAILED, "interrupted")
    try:
        outcome = _outcome(act, service)
    finally:
        after = {"kind": service.kind.value, "state": outcome.state, "detail": outcome.detail}
        change = Change("service.restarted", rules.target(service), before=requested, after=after)
        _record(table, call, change)
    if outcome.state == UNKNOWN:
        raise Unavailable(f'Service "{service.name}" may have been restarted: {outcome.detail}')
    if outcome.state == FAILED:
        raise Conflict(f'Service "{service.name}" was not restarted: {outcome.detail}')
    return Restart(service, call.now, outcome.state)


def _outcome(act: Callable[[], RestartOutcome], service: Service) -> RestartOutcome:
    try:
        return act()
    except _NotRestartedError as error:
        return RestartOutcome(FAILED, str(error))
    except control_plane.NoAnswer as silent:
        logger.warning("restart_unknown", service=service.name, reason=silent.code)
        return RestartOutcome(UNKNOWN, "AWS did not answer in time")
    except control_plane.ControlPlaneError as failed:
        logger.warning("restart_failed", service=service.name, reason=failed.code)
        return RestartOutcome(FAILED, f"AWS refused it with {failed.code}")


def _record(table: Table, call: Call, change: Change) -> None:
    audit.commit(
        table,
        call.caller.account_id,
        writes={},
        changes=[change],
        origin=Origin.of(call),
        now=clock.now(),
    )


# ---- Lambda ------------------------------------------------------------------------------------


def _restart_function(
    cloud: Cloud, service: Service, *, call: Call, until: float
) -> RestartOutcome:
    """Set an environment variable of a function, which makes Lambda start new environments."""
    client = cloud.lambdas()
    if service.alias:
        _check_alias(client, service)
    facts = _set_restarted_at(client, service, at=clock.rfc3339(call.now), until=until)
    facts = _wait_until_settled(client, service, facts, until=until)
    if facts.update == "Failed":
        raise _NotRestartedError(f"the update failed: {facts.update_reason}")
    if service.alias:
        if not facts.is_settled:
            raise _NotRestartedError(
                f"it was not ready in time, and alias {service.alias} was not moved"
            )
        _move_alias(client, service, facts, until=until)
    return RestartOutcome(DONE if facts.is_settled else IN_PROGRESS)


def _set_restarted_at(
    client: LambdaClient, service: Service, *, at: str, until: float
) -> FunctionFacts:
    """Set the variable and keep all others; the function's revision excludes lost updates."""
    while True:
        facts = _wait_until_settled(
            client, service, lambda_functions.read(client, service.arn), until=until
        )
        if not facts.is_settled:
            raise _NotRestartedError("another update of it is under way")
        if facts.variables is None:
            raise _NotRestartedError(
                "its environment variables cannot be read, so a change would delete them"
            )
        variables = {**facts.variables, RESTARTED_AT: at}
        try:
            lambda_functions.set_variables(
                client, service.arn, variables=variables, revision=facts.revision
            )
        except (control_plane.ResourceChanged, control_plane.ControlPlaneBusy):
            if time.monotonic() > until:
                raise
            time.sleep(_TICK)
        else:
            return lambda_functions.read(client, service.arn)


def _wait_until_settled(
    client: LambdaClient,
    service: Service,
    facts: FunctionFacts,
    *,
    until: float,
    version: str | None = None,
) -> FunctionFacts:
    """Wait until no update is in progress, or until time is up."""
    while not facts.is_settled and time.monotonic() < until:
        time.sleep(_TICK)
        facts = lambda_functions.read(client, service.arn, qualifier=version)
    return facts


def _check_alias(client: LambdaClient, service: Service) -> None:
    """Raise if moving the alias would do more than restart the code that it runs now."""
    alias = lambda_functions.read_alias(client, service.arn, name=service.alias)
    if alias.weighted:
        raise _NotRestartedError(f"alias {service.alias} splits its traffic between two versions")
    published = lambda_functions.read(client, service.arn, qualifier=alias.version)
    if published.code != lambda_functions.read(client, service.arn).code:
        raise _NotRestartedError(f"alias {service.alias} does not run the code of $LATEST")


def _move_alias(
    client: LambdaClient, service: Service, facts: FunctionFacts, *, until: float
) -> None:
    alias = lambda_functions.read_alias(client, service.arn, name=service.alias)
    version = lambda_functions.publish_version(
        client, service.arn, code=facts.code, revision=facts.revision
    )
    published = lambda_functions.read(client, service.arn, qualifier=version)
    published = _wait_until_settled(client, service, published, until=until, version=version)
    if not published.is_settled:
        raise _NotRestartedError(
            f"version {version} was not ready in time, and the alias was not moved"
        )
    lambda_functions.move_alias(
        client, service.arn, name=service.alias, version=version, revision=alias.revision
    )


# ---- ECS ---------------------------------------------------------------------------------------


def _redeploy(cloud: Cloud, service: Service, *, until: float) -> RestartOutcome:
    """Start a new deployment of the same tasks, and wait until the old ones are gone."""
    client = cloud.ecs()
    started = facts = ecs.redeploy(client, service.arn)
    while True:
        is_ours = facts.deployment == started.deployment
        if is_ours and facts.rollout == "FAILED":
            raise _NotRestartedError(f"the deployment failed: {facts.rollout_reason}")
        if is_ours and facts.deployments == 1 and facts.running == facts.desired:
            return RestartOutcome(DONE)
        if time.monotonic() > until:
            return RestartOutcome(IN_PROGRESS)
        time.sleep(2 * _TICK)
        cluster = ecs.cluster_of(service.arn)
        facts = ecs.describe(client, cluster, arns=[service.arn]).get(service.arn, facts)


# ---- Restart hooks of HTTP services ------------------------------------------------------------


def _call_hook(
    table: Table, cloud: Cloud, vault: Vault, *, service: Service, call: Call, until: float
) -> RestartOutcome:
    """Call the restart hook with a signature, and wait until the service is running again."""
    secret = vaults.read(table, vault, removal.secret_place(service))
    if secret is None:
        raise _NotRestartedError("it was removed during the request")
    body = json.dumps(
        {
            "type": "service.restart",
            "service": service.name,
            "requestedAt": clock.rfc3339(call.now),
        }
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Gatehouse-Restart/1.0",
        **signing.standard(
            [secret],
            message_id=f"restart:{ids.new(call.now)}",
            timestamp=call.now // clock.SECOND,
            body=body,
        ),
    }
    try:
        reply = outbound.send(
            "POST",
            service.restart_url,
            headers=headers,
            body=body,
            timeout=max(1.0, until - time.monotonic()),
            most=1,
        )
    except outbound.RequestFailed as failed:
        if failed.kind == "timeout":
            return RestartOutcome(IN_PROGRESS, "its hook has not answered yet")
        raise _NotRestartedError(f"its hook: {failed}") from failed
    if not 200 <= reply.status < 300:  # noqa: PLR2004 - HTTP's own numbers
        raise _NotRestartedError(f"its hook answered {reply.status}")
    if reply.status == _ACCEPTED:
        return RestartOutcome(IN_PROGRESS, "its hook accepted the restart")
    while _is_down(call, cloud, service):
        if time.monotonic() > until:
            return RestartOutcome(IN_PROGRESS, "it is not running again yet")
        time.sleep(2 * _TICK)
    return RestartOutcome(DONE)


def _is_down(call: Call, cloud: Cloud, service: Service) -> bool:
    health = health_checks.check_one(call, cloud, service=service)
    return health.status is not ServiceStatus.RUNNING
