"""ECS's control plane: the state of services, and new deployments of the same tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.services.model import ContainerFacts

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

AT_ONCE = 10  # services in one request


def cluster_of(arn: str) -> str:
    """Return the cluster's name from a service's ARN."""
    return arn.split("/")[1]


def describe(client: ECSClient, cluster: str, *, arns: Sequence[str]) -> dict[str, ContainerFacts]:
    """Read up to ten services of a cluster by ARN; missing ones are left out.

    Raises ControlPlaneError.
    """
    answer = control_plane.call(client.describe_services, cluster=cluster, services=list(arns))
    return {service["serviceArn"]: _facts(service) for service in answer["services"]}


def redeploy(client: ECSClient, arn: str) -> ContainerFacts:
    """Start a new deployment of the same tasks. Raises ControlPlaneError."""
    answer = control_plane.call(
        client.update_service, cluster=cluster_of(arn), service=arn, forceNewDeployment=True
    )
    return _facts(answer["service"])


def log_group(client: ECSClient, task_definition: str) -> str:
    """Return the log group of the first container that has one, or an empty text."""
    answer = control_plane.call(client.describe_task_definition, taskDefinition=task_definition)
    for container in answer["taskDefinition"]["containerDefinitions"]:
        logging = container.get("logConfiguration", {})
        if logging.get("logDriver") == "awslogs":
            return str(logging.get("options", {}).get("awslogs-group", ""))
    return ""


def _facts(service: dict[str, Any]) -> ContainerFacts:
    deployments = service.get("deployments", [])
    newest: dict[str, Any] = next(
        (one for one in deployments if one.get("status") == "PRIMARY"), {}
    )
    return ContainerFacts(
        status=service.get("status", ""),
        running=service.get("runningCount", 0),
        desired=service.get("desiredCount", 0),
        deployment=newest.get("id", ""),
        rollout=newest.get("rolloutState", ""),
        rollout_reason=newest.get("rolloutStateReason", ""),
        deployments=len(deployments),
        task_definition=service.get("taskDefinition", ""),
    )
