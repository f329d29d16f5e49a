"""The state in which a deployment finds its stack, and the way out of a state that blocks it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from gatehouse_cli.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

# States from which CloudFormation can deploy, each with what a user should know about it.
READY = {
    "CREATE_COMPLETE": None,
    "UPDATE_COMPLETE": None,
    "IMPORT_COMPLETE": None,
    "IMPORT_ROLLBACK_COMPLETE": None,
    "UPDATE_ROLLBACK_COMPLETE": "Its last update failed and was undone.",
    "UPDATE_FAILED": "Its last update failed and was not undone: this one goes on from there.",
    "REVIEW_IN_PROGRESS": "It has a change set that was never executed, and no resources yet.",
}
# What happened and the way out, of states from which CloudFormation cannot deploy.
_BLOCKED = {
    "ROLLBACK_COMPLETE": (
        "Its first deployment failed and was undone",
        "aws cloudformation delete-stack",
    ),
    "CREATE_FAILED": (
        "Its first deployment failed and was not undone",
        "aws cloudformation delete-stack",
    ),
    "ROLLBACK_FAILED": (
        "Its first deployment failed, and undoing it failed at {failed}",
        "aws cloudformation delete-stack",
    ),
    "DELETE_FAILED": (
        "Deleting it failed at {failed}",
        "aws cloudformation delete-stack --retain-resources {retained}",
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "Its last update failed, and undoing it failed at {failed}",
        "aws cloudformation continue-update-rollback",
    ),
    "IMPORT_ROLLBACK_FAILED": (
        "An import into it failed, and undoing it failed at {failed}",
        "aws cloudformation describe-stack-events",
    ),
    "DELETE_IN_PROGRESS": (
        "It is being deleted",
        "aws cloudformation wait stack-delete-complete",
    ),
}
_RUNNING = ("Another operation is running on it", "aws cloudformation describe-stack-events")
_CANCELLED = ("Resource creation cancelled", "Resource update cancelled")


@dataclass(frozen=True)
class Stack:
    """A stack that exists. CloudFormation shows the values of NoEcho parameters as `****`."""

    status: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def find(client: "CloudFormationClient", name: str) -> Stack | None:
    """Return the stack, None if there is none of this name."""
    try:
        (described,) = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"].get("Message", ""):
            return None
        raise
    parameters = {
        one["ParameterKey"]: one["ParameterValue"] for one in described.get("Parameters", [])
    }
    return Stack(described["StackStatus"], parameters)


def check(client: "CloudFormationClient", name: str) -> tuple[Stack | None, str]:
    """Return the stack, and a sentence about its state, for a deployment that is about to start.

    Raises:
        CommandError: CloudFormation cannot deploy in this state; the message has the way out.

    """
    stack = find(client, name)
    if stack is None:
        return None, f"Stack {name} does not exist yet: this is its first deployment."
    blocked = explain(client, name, stack.status)
    if blocked:
        raise CommandError(blocked)
    note = READY[stack.status]
    return stack, f"Stack {name} is in the state {stack.status}.{f' {note}' if note else ''}"


def explain(client: "CloudFormationClient", name: str, status: str) -> str | None:
    """Return what happened to a stack and the way out; None if it can be deployed."""
    if status in READY:
        return None
    what, command = _BLOCKED.get(status, _RUNNING)
    failed = _failed_resources(client, name) if "{failed}" in what else []
    what = what.format(failed=", ".join(failed) or "a resource")
    where = f" --stack-name {name} --region {client.meta.region_name}"
    command = command.format(retained=" ".join(failed)) + where
    after = "then deploy again" if status in _BLOCKED else "and deploy again when it has ended"
    cause = _first_failure(client, name) if status in _BLOCKED else None
    return (
        f"Stack {name} is in the state {status}. {what}: run `{command}`, {after}."
        f"{f' The first failure was {cause}' if cause else ''}"
    )


def _failed_resources(client: "CloudFormationClient", name: str) -> list[str]:
    """List the logical ids of the resources that are in a failed state."""
    resources = client.describe_stack_resources(StackName=name)["StackResources"]
    return [
        one["LogicalResourceId"]
        for one in resources
        if one["ResourceStatus"] in {"DELETE_FAILED", "UPDATE_FAILED"}
    ]


def _first_failure(client: "CloudFormationClient", name: str) -> str | None:
    """Return the resource and the reason with which the last operation began to fail."""
    first = None
    for page in client.get_paginator("describe_stack_events").paginate(StackName=name):
        for event in page["StackEvents"]:  # newest first
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and not reason.startswith(_CANCELLED):
                first = f"{event['LogicalResourceId']}: {reason}"
            began = event["ResourceStatus"] in {"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"}
            if began and event["LogicalResourceId"] == name:
                return first
    return first
