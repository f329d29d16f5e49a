"""What tests share: the template as data, tables as it says, functions as Lambda loads them."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import uuid
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import yaml

ROOT = Path(__file__).resolve().parents[1]


class _Loader(yaml.SafeLoader):
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
    """See what stands behind `Fn::If` where the other branch is nothing at all."""
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        _, there, otherwise = value["Fn::If"]
        assert otherwise == {"Ref": "AWS::NoValue"}
        return there
    return value


def make_tables(suffix: str) -> dict[str, str]:
    """Create the template's two tables and give the environment that names them."""
    client = boto3.client("dynamodb")
    environment = {}
    for logical, variable in (
        ("KeysTable", "GATEHOUSE_KEYS_TABLE"),
        ("MainTable", "GATEHOUSE_MAIN_TABLE"),
    ):
        properties = template()["Resources"][logical]["Properties"]
        wanted = {
            name: properties[name]
            for name in (
                "BillingMode",
                "AttributeDefinitions",
                "KeySchema",
                "GlobalSecondaryIndexes",
            )
            if name in properties
        }
        name = f"{logical}-{suffix}"
        client.create_table(TableName=name, **wanted)
        environment[variable] = name
    return environment


def make_queue(name: str) -> str:
    """Create a queue and give its URL."""
    return str(boto3.client("sqs").create_queue(QueueName=name)["QueueUrl"])


def make_settings_key() -> str:
    """Create the template's KMS key and give its id."""
    made = boto3.client("kms").create_key(Description="settings")
    return str(made["KeyMetadata"]["KeyId"])


def load(group: str) -> ModuleType:
    """Import functions/<group>/handler.py afresh, as a new execution environment does."""
    name = f"functions_{group}_{uuid.uuid4().hex}"
    path = ROOT / "functions" / group / "handler.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def event(name: str) -> dict[str, Any]:
    """Read an event from events/."""
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


class Context:
    """The part of Lambda's context that handlers may use."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = "test"
        self.invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
        self.log_group_name = "/aws/lambda/test"
        self.memory_limit_in_mb = 512

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


class Answer(SimpleNamespace):
    """status, headers (by lower-case name), text, and json() of a response."""

    def json(self) -> Any:
        return json.loads(self.text)
