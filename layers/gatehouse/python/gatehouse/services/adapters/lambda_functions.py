"""Lambda's control plane: how a function is, and what makes it start afresh.

A function is read with GetFunction, of which an account has 100 a second; everything else shares
15 a second with the account's deployments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.services.model import AliasFacts, FunctionFacts

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


def name_of(arn: str) -> str:
    """Take a function's name out of its ARN."""
    return arn.split(":")[6]


def read(client: LambdaClient, arn: str, *, qualifier: str | None = None) -> FunctionFacts:
    """Read a function, or the version behind a qualifier. Raises ControlPlaneError."""
    name = name_of(arn)
    request = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    answer: dict[str, Any] = control_plane.call(client.get_function, **request)
    said = answer["Configuration"]
    environment = said.get("Environment", {})
    return FunctionFacts(
        name=name,
        state=said.get("State", "Active"),
        state_reason=said.get("StateReason", ""),
        update=said.get("LastUpdateStatus", "Successful"),
        update_reason=said.get("LastUpdateStatusReason", ""),
        reserved=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
        log_group=said.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"),
        revision=said.get("RevisionId", ""),
        code=said.get("CodeSha256", ""),
        # Sealed with a key that may not be used here: writing back what was read would lose them.
        variables=None if "Error" in environment else environment.get("Variables", {}),
    )


def set_variables(
    client: LambdaClient, arn: str, *, variables: Mapping[str, str], revision: str
) -> None:
    """Give a function its variables, if it is still the one that was read."""
    control_plane.call(
        client.update_function_configuration,
        FunctionName=name_of(arn),
        Environment={"Variables": dict(variables)},
        RevisionId=revision,
    )


def alias(client: LambdaClient, arn: str, *, name: str) -> AliasFacts:
    """Read an alias. Raises ControlPlaneError."""
    answer = control_plane.call(client.get_alias, FunctionName=name_of(arn), Name=name)
    return AliasFacts(
        version=answer["FunctionVersion"],
        revision=answer.get("RevisionId", ""),
        weighted=bool(answer.get("RoutingConfig", {}).get("AdditionalVersionWeights")),
    )


def publish(client: LambdaClient, arn: str, *, code: str, revision: str) -> str:
    """Publish a version of the very function that was read, and give its number."""
    answer = control_plane.call(
        client.publish_version, FunctionName=name_of(arn), CodeSha256=code, RevisionId=revision
    )
    return str(answer["Version"])


def move(client: LambdaClient, arn: str, *, name: str, version: str, revision: str) -> None:
    """Point an alias to a version, if it still points to where it did when it was read."""
    control_plane.call(
        client.update_alias,
        FunctionName=name_of(arn),
        Name=name,
        FunctionVersion=version,
        RevisionId=revision,
    )
