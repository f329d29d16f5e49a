"""Lambda's control plane: the state of a function, and the changes that restart it.

Functions are read with GetFunction: AWS allows 100 of these per second and account. All other
requests together have 15 per second, which the account's deployments need too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gatehouse.aws import control_plane
from gatehouse.services.model import AliasFacts, FunctionFacts

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


def name_of(arn: str) -> str:
    """Return a function's name from its ARN."""
    return arn.split(":")[6]


def read(client: LambdaClient, arn: str, *, qualifier: str | None = None) -> FunctionFacts:
    """Read a function, or the version behind a qualifier.

    Raises ControlPlaneError.
    """
    name = name_of(arn)
    request = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    answer: dict[str, Any] = control_plane.call(client.get_function, **request)
    found = answer["Configuration"]
    environment = found.get("Environment", {})
    return FunctionFacts(
        name=name,
        state=found.get("State", "Active"),
        state_reason=found.get("StateReason", ""),
        update=found.get("LastUpdateStatus", "Successful"),
        update_reason=found.get("LastUpdateStatusReason", ""),
        reserved=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
        log_group=found.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{name}"),
        revision=found.get("RevisionId", ""),
        code=found.get("CodeSha256", ""),
        # Encrypted with a key that we cannot use: writing back what was read would delete them.
        variables=None if "Error" in environment else environment.get("Variables", {}),
    )


def set_variables(
    client: LambdaClient, arn: str, *, variables: Mapping[str, str], revision: str
) -> None:
    """Set a function's variables. Raises ResourceChanged if `revision` is not current."""
    control_plane.call(
        client.update_function_configuration,
        FunctionName=name_of(arn),
        Environment={"Variables": dict(variables)},
        RevisionId=revision,
    )


def read_alias(client: LambdaClient, arn: str, *, name: str) -> AliasFacts:
    """Read an alias. Raises ControlPlaneError."""
    answer = control_plane.call(client.get_alias, FunctionName=name_of(arn), Name=name)
    return AliasFacts(
        version=answer["FunctionVersion"],
        revision=answer.get("RevisionId", ""),
        weighted=bool(answer.get("RoutingConfig", {}).get("AdditionalVersionWeights")),
    )


def publish_version(client: LambdaClient, arn: str, *, code: str, revision: str) -> str:
    """Publish a version and return its number. Raises ResourceChanged if it was changed."""
    answer = control_plane.call(
        client.publish_version, FunctionName=name_of(arn), CodeSha256=code, RevisionId=revision
    )
    return str(answer["Version"])


def move_alias(client: LambdaClient, arn: str, *, name: str, version: str, revision: str) -> None:
    """Point an alias to a version. Raises ResourceChanged if `revision` is not current."""
    control_plane.call(
        client.update_alias,
        FunctionName=name_of(arn),
        Name=name,
        FunctionVersion=version,
        RevisionId=revision,
    )
