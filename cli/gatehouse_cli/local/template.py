"""Parts of template.yaml that the engine ignores and the local stack sets up itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gatehouse_cli import yaml_text


@dataclass(frozen=True)
class GatewayResponse:
    """One gateway response, as API Gateway's API takes it."""

    response_type: str
    status_code: str
    parameters: dict[str, str]
    templates: dict[str, str]


class _Loader(yaml_text.SafeLoader):
    """Reads `!Ref`, `!GetAtt` and other tags as their plain values."""


def _bare(loader: _Loader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)  # noqa: S101  # YAML has no fourth kind.
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _bare)


def document(template: Path) -> dict[str, Any]:
    """Return the whole template; intrinsic functions are not evaluated."""
    return dict(yaml.load(template.read_text(encoding="utf-8"), Loader=_Loader))  # noqa: S506  # Derived from SafeLoader.


def resources(template: Path) -> dict[str, Any]:
    """Return the template's resources by logical id; intrinsic functions are not evaluated."""
    return dict(document(template)["Resources"])


def gateway_responses(resources_by_id: dict[str, Any], api: str = "Api") -> list[GatewayResponse]:
    """Return the gateway responses that the API resource declares."""
    declared = resources_by_id[api]["Properties"].get("GatewayResponses", {})
    return [
        GatewayResponse(
            response_type=kind,
            status_code=str(body["StatusCode"]),
            parameters={
                f"gatewayresponse.header.{name}": value
                for name, value in body.get("ResponseParameters", {}).get("Headers", {}).items()
            },
            templates=dict(body.get("ResponseTemplates", {})),
        )
        for kind, body in declared.items()
    ]


def expiring_tables(resources_by_id: dict[str, Any]) -> dict[str, str]:
    """Return the tables with a time to live: logical id → attribute name."""
    return {
        name: resource["Properties"]["TimeToLiveSpecification"]["AttributeName"]
        for name, resource in resources_by_id.items()
        if resource["Type"] == "AWS::DynamoDB::Table"
        and "TimeToLiveSpecification" in resource["Properties"]
    }


def log_groups(resources_by_id: dict[str, Any]) -> list[str]:
    """Return the logical ids of the log groups, in the template's order."""
    return [
        name
        for name, resource in resources_by_id.items()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]
