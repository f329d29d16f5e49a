"""The template as data, and tables, queues and keys made from it."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import yaml

from support.aws.memory_dynamo import MemoryDynamo

ROOT = Path(__file__).resolve().parents[3]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML with CloudFormation's short tags, which become their long forms."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = str(value).split(".")
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    return {name: value}


_Loader.add_multi_constructor("!", _intrinsic)


def template() -> dict[str, Any]:
    """Read template.yaml, its short tags as {"Ref": ...} and {"Fn::...": ...}."""
    return copy.deepcopy(_template())


@cache
def _template() -> dict[str, Any]:
    return yaml.load((ROOT / "template.yaml").read_text(), _Loader)  # noqa: S506 - a SafeLoader


def given(value: Any) -> Any:
    """Return the first branch of an `Fn::If` whose other branch is AWS::NoValue."""
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        _, there, otherwise = value["Fn::If"]
        assert otherwise == {"Ref": "AWS::NoValue"}
        return there
    return value


TABLES = (("KeysTable", "GATEHOUSE_KEYS_TABLE"), ("MainTable", "GATEHOUSE_MAIN_TABLE"))


def table_properties(logical: str) -> dict[str, Any]:
    """Return what a call that creates this table of the template, on demand, needs to know."""
    properties = copy.deepcopy(_template()["Resources"][logical]["Properties"])
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    for index in properties.get("GlobalSecondaryIndexes", []):
        index.pop("ProvisionedThroughput")
        index.pop("WarmThroughput", None)
    return {
        "BillingMode": "PAY_PER_REQUEST",
        **{name: properties[name] for name in wanted if name in properties},
    }


def make_tables(dynamo: MemoryDynamo, suffix: str) -> dict[str, str]:
    """Make the template's two tables in memory and return the environment that names them."""
    environment = {}
    for logical, variable in TABLES:
        name = environment[variable] = f"{logical}-{suffix}"
        dynamo.add_table(name, table_properties(logical))
    return environment


def create_tables(suffix: str) -> dict[str, str]:
    """Create the template's two tables with boto3 and return the environment that names them."""
    environment = {}
    for logical, variable in TABLES:
        name = environment[variable] = f"{logical}-{suffix}"
        boto3.client("dynamodb").create_table(TableName=name, **table_properties(logical))
    return environment


@cache
def _client(service: str) -> Any:
    """Return one client for all test files: to make one takes longer than a call."""
    return boto3.client(service)


def make_queue(name: str) -> str:
    """Create a queue and return its URL."""
    return str(_client("sqs").create_queue(QueueName=name)["QueueUrl"])


def make_settings_key() -> str:
    """Create the template's KMS key and return its id."""
    made = _client("kms").create_key(Description="settings")
    return str(made["KeyMetadata"]["KeyId"])
