"""Tables that were restored from a backup, in the place of a stack's own.

A stack takes them over in three deployments of its template: one without its tables, in which all
that named them names the restored ones; an import of the restored tables, under the names of the
stack's own; and the template itself, which then changes nothing any more.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatehouse_cli.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# In the template, logical id, to the option of the command that names the restored table.
TABLES = {"KeysTable": "--keys-table", "MainTable": "--main-table"}
# What a restored table has from its backup, and must have as the template says.
_FROM_BACKUP = ("KeySchema", "GlobalSecondaryIndexes")


@dataclass(frozen=True)
class Restored:
    """A restored table that is ready to be used; `stream` is None without a stream."""

    name: str
    arn: str
    stream: str | None = None


def prepare(client: "DynamoDBClient", name: str, declared: Mapping[str, Any]) -> Restored:
    """Give a restored table what no backup has: stream, expiry, recovery and protection.

    `declared` are the properties of the template's table. Running it again changes nothing.

    Raises:
        CommandError: The table has other keys or indexes than the template's.

    """
    client.get_waiter("table_exists").wait(TableName=name)
    table = client.describe_table(TableName=name)["Table"]
    for part in _FROM_BACKUP:
        if _shape(table.get(part, [])) != _shape(declared.get(part, [])):
            raise CommandError(
                f"{name} has another {part} than the template: name a table that was restored from"
                " a backup of this stack, and deploy the version that made it."
            )
    stream = declared.get("StreamSpecification")
    if stream and not table.get("LatestStreamArn"):
        client.update_table(
            TableName=name,
            StreamSpecification={"StreamEnabled": True, "StreamViewType": stream["StreamViewType"]},
        )
        client.get_waiter("table_exists").wait(TableName=name)
    if not table.get("DeletionProtectionEnabled"):
        client.update_table(TableName=name, DeletionProtectionEnabled=True)
    expiry = declared.get("TimeToLiveSpecification")
    if expiry and not _expires(client, name):
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
    client.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    table = client.describe_table(TableName=name)["Table"]
    return Restored(name, table["TableArn"], table.get("LatestStreamArn"))


def _shape(part: Any) -> Any:
    """Return key schemas and indexes without what DynamoDB adds to their description."""
    kept = ("AttributeName", "KeyType", "IndexName", "KeySchema", "ProjectionType")
    if isinstance(part, list):
        return sorted((_shape(one) for one in part), key=str)
    if isinstance(part, dict):
        more = (*kept, "Projection", "NonKeyAttributes")
        return {name: _shape(value) for name, value in part.items() if name in more}
    return part


def _expires(client: "DynamoDBClient", name: str) -> bool:
    described = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    return described.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}


def without_tables(template: dict[str, Any], tables: Mapping[str, Restored]) -> dict[str, Any]:
    """Return a copy of a template, intrinsic functions in long form, that names restored tables."""
    changed = copy.deepcopy(template)
    for logical in tables:
        del changed["Resources"][logical]
    renamed: dict[str, Any] = _renamed(changed, tables)
    return renamed


def _renamed(node: Any, tables: Mapping[str, Restored]) -> Any:
    if isinstance(node, list):
        return [_renamed(one, tables) for one in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Ref"} and node["Ref"] in tables:
        return tables[node["Ref"]].name
    if set(node) == {"Fn::GetAtt"}:
        logical, attribute = _attribute(node["Fn::GetAtt"])
        return _value(tables[logical], attribute) if logical in tables else node
    if set(node) == {"Fn::Sub"} and isinstance(node["Fn::Sub"], str):
        text = node["Fn::Sub"]
        for logical, table in tables.items():
            text = text.replace(f"${{{logical}}}", table.name)
            text = text.replace(f"${{{logical}.Arn}}", table.arn)
        return {"Fn::Sub": text}
    return {name: _renamed(value, tables) for name, value in node.items()}


def _attribute(value: Any) -> tuple[str, str]:
    logical, _, attribute = (
        value.partition(".") if isinstance(value, str) else (value[0], "", value[1])
    )
    return logical, attribute


def _value(table: Restored, attribute: str) -> str | None:
    return {"Arn": table.arn, "StreamArn": table.stream}[attribute]


def with_tables(
    deployed: dict[str, Any], template: Mapping[str, Any], logical_ids: list[str]
) -> dict[str, Any]:
    """Return the deployed template with the tables as the template declares them, for an import."""
    tables = {logical: template["Resources"][logical] for logical in logical_ids}
    return {**deployed, "Resources": {**deployed["Resources"], **copy.deepcopy(tables)}}
