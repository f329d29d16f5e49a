"""Restart a service: written down before and after the act, awaited for twenty seconds."""

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
from gatehouse.services import actions, health_checks, rules
from gatehouse.services.adapters import ecs, lambda_functions
from gatehouse.services.model import (
    RESTARTED_AT,
    FunctionFacts,
    Kind,
    Outcome,
    Restarted,
    Service,
    Status,
)
from gatehouse.webhooks import signing

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_WITHIN = 20.0  # seconds; API Gateway ends requests after 29
_TICK = 0.5
_ACCEPTED = 202

DONE, IN_PROGRESS, FAILED, UNKNOWN = "done", "in_progress", "failed", "unknown"


class _Hindered(Exception):
    """The restart cannot be done; the text says why and may be shown."""


def restart(table: Table, call: Call, cloud: Cloud, vault: Vault, *, name: str) -> Restarted:
    """Restart a service. Raises NotFound, or Conflict where it has no way to, or it failed."""
    until = time.monotonic() + _WITHIN
    service = actions.named(table, call, cloud, name=name)
    if service.kind is Kind.HTTP and not service.restart_url:
        raise Conflict(f'Service "{service.name}" has no restart hook')
    act: Callable[[], Outcome] = {
        Kind.LAMBDA: partial(_function, cloud, service, call=call, until=until),
        Kind.ECS: partial(_container, cloud, service, until=until),
        Kind.HTTP: partial(_hook, table, cloud, vault, service=service, call=call, until=until),
    }[service.kind]
    asked = {"kind": service.kind.value, "state": "requested"}
    _record(table, call, Change("service.restart", rules.target(service), after=asked))
    outcome = Outcome(FAILED, "interrupted")
    try:
        outcome = _outcome(act, service)
    finally:
        after = {"kind": service.kind.value, "state": outcome.state, "detail": outcome.detail}
        change = Change("service.restarted", rules.target(service), before=asked, after=after)
        _record(table, call, change)
    if outcome.state == UNKNOWN:
        raise Unavailable(f'Service "{service.name}" may have been restarted: {outcome.detail}')
    if outcome.state == FAILED:
        raise Conflict(f'Service "{service.name}" was not restarted: {outcome.detail}')
    return Restarted(service, call.now, outcome.state)


def _outcome(act: Callable[[], Outcome], service: Service) -> Outcome:
    try:
        return act()
    except _Hindered as hindered:
        return Outcome(FAILED, str(hindered))
    except control_plane.NoAnswer as silent:
        logger.warning("restart_unknown", service=service.name, reason=silent.code)
        return Outcome(UNKNOWN, "AWS did not answer in time")
    except control_plane.ControlPlaneError as failed:
        logger.warning("restart_failed", service=service.name, reason=failed.code)
        return Outcome(FAILED, f"AWS refused it with {failed.code}")


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


def _function(cloud: Cloud, service: Service, *, call: Call, until: float) -> Outcome:
    """Change a variable of a function, which makes Lambda start new environments."""
    client = cloud.lambdas()
    if service.alias:
        _check_alias(client, service)
    facts = _marked(client, service, at=clock.rfc3339(call.now), until=until)
    facts = _settled(client, service, facts, until=until)
    if facts.update == "Failed":
        raise _Hindered(f"the update failed: {facts.update_reason}")
    if service.alias:
        if not facts.is_settled:
            raise _Hindered(f"it was not ready in time, and alias {service.alias} was not moved")
        _move_alias(client, service, facts, until=until)
    return Outcome(DONE if facts.is_settled else IN_PROGRESS)


def _marked(client: LambdaClient, service: Service, *, at: str, until: float) -> FunctionFacts:
    """Set the variable, keeping the others as they stand at that very moment."""
    while True:
        facts = _settled(client, service, lambda_functions.read(client, service.arn), until=until)
        if not facts.is_settled:
            raise _Hindered("another update of it is under way")
        if facts.variables is None:
            raise _Hindered("its environment variables cannot be read, so they would be lost")
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


def _settled(
    client: LambdaClient,
    service: Service,
    facts: FunctionFacts,
    *,
    until: float,
    version: str | None = None,
) -> FunctionFacts:
    """Wait until no update is under way, or until time is up."""
    while not facts.is_settled and time.monotonic() < until:
        time.sleep(_TICK)
        facts = lambda_functions.read(client, service.arn, qualifier=version)
    return facts


def _check_alias(client: LambdaClient, service: Service) -> None:
    """Refuse where moving the alias would do more than start the same code afresh."""
    behind = lambda_functions.alias(client, service.arn, name=service.alias)
    if behind.weighted:
        raise _Hindered(f"a part of the traffic of alias {service.alias} goes elsewhere")
    published = lambda_functions.read(client, service.arn, qualifier=behind.version)
    if published.code != lambda_functions.read(client, service.arn).code:
        raise _Hindered(f"alias {service.alias} runs other code than $LATEST")


def _move_alias(
    client: LambdaClient, service: Service, facts: FunctionFacts, *, until: float
) -> None:
    behind = lambda_functions.alias(client, service.arn, name=service.alias)
    version = lambda_functions.publish(
        client, service.arn, code=facts.code, revision=facts.revision
    )
    published = lambda_functions.read(client, service.arn, qualifier=version)
    published = _settled(client, service, published, until=until, version=version)
    if not published.is_settled:
        raise _Hindered(f"version {version} was not ready in time, and the alias was not moved")
    lambda_functions.move(
        client, service.arn, name=service.alias, version=version, revision=behind.revision
    )


# ---- ECS ---------------------------------------------------------------------------------------


def _container(cloud: Cloud, service: Service, *, until: float) -> Outcome:
    """Deploy what runs already once more, and wait until it is all that runs."""
    client = cloud.ecs()
    begun = facts = ecs.redeploy(client, service.arn)
    while True:
        ours = facts.deployment == begun.deployment
        if ours and facts.rollout == "FAILED":
            raise _Hindered(f"the deployment failed: {facts.rollout_reason}")
        if ours and facts.deployments == 1 and facts.running == facts.desired:
            return Outcome(DONE)
        if time.monotonic() > until:
            return Outcome(IN_PROGRESS)
        time.sleep(2 * _TICK)
        cluster = ecs.cluster_of(service.arn)
        facts = ecs.describe(client, cluster, arns=[service.arn]).get(service.arn, facts)


# ---- A hook ------------------------------------------------------------------------------------


def _hook(
    table: Table, cloud: Cloud, vault: Vault, *, service: Service, call: Call, until: float
) -> Outcome:
    """Call a registered hook, signed, and wait until the service is well again."""
    secret = vaults.read(table, vault, actions.place(service))
    if secret is None:
        raise _Hindered("it was removed meanwhile")
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
            return Outcome(IN_PROGRESS, "its hook has not answered yet")
        raise _Hindered(f"its hook: {failed}") from failed
    if not 200 <= reply.status < 300:  # noqa: PLR2004 - HTTP's own numbers
        raise _Hindered(f"its hook answered {reply.status}")
    if reply.status == _ACCEPTED:
        return Outcome(IN_PROGRESS, "its hook took it on")
    while health_checks.look(call, cloud, service=service).status is not Status.RUNNING:
        if time.monotonic() > until:
            return Outcome(IN_PROGRESS, "it is not well yet")
        time.sleep(2 * _TICK)
    return Outcome(DONE)
