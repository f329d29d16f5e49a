"""`gatehouse restore`: the templates of a restore, and the import of the restored tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.stub import ANY, Stubber

from gatehouse_cli import restore
from gatehouse_cli.restored_tables import Restored, with_tables, without_tables
from support.aws import resources

TEMPLATE = resources.template()
ARN = "arn:aws:dynamodb:eu-west-1:1:table/"
TABLES = {
    "KeysTable": Restored("keys-2", f"{ARN}keys-2"),
    "MainTable": Restored("main-2", f"{ARN}main-2", f"{ARN}main-2/stream/2026"),
}
CHANGED = without_tables(TEMPLATE, TABLES)


def texts(node: Any) -> Iterator[str]:
    """List all texts in a document, names of fields too."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield str(name)
            yield from texts(value)
    elif isinstance(node, list):
        for one in node:
            yield from texts(one)
    else:
        yield str(node)


def test_no_reference_to_the_stack_s_own_tables_is_left() -> None:
    left = {
        text for text in texts(CHANGED["Resources"]) if "KeysTable" in text or "MainTable" in text
    }

    assert left == set()
    assert set(TEMPLATE["Resources"]) - set(CHANGED["Resources"]) == set(TABLES)


def test_each_kind_of_reference_names_the_restored_table() -> None:
    variables = CHANGED["Globals"]["Function"]["Environment"]["Variables"]
    streams = {
        event["Properties"]["Stream"]
        for name in ("FanOutFunction", "StatisticsFunction")
        for event in CHANGED["Resources"][name]["Properties"]["Events"].values()
    }
    found = json.dumps(CHANGED["Resources"]["SweeperFunction"]["Properties"]["Policies"])

    assert variables["GATEHOUSE_KEYS_TABLE"] == "keys-2"
    assert variables["GATEHOUSE_MAIN_TABLE"] == "main-2"
    assert streams == {f"{ARN}main-2/stream/2026"}
    assert f'"Resource": "{ARN}keys-2"' in found
    assert f"{ARN}main-2/index/by_due" in found
    assert CHANGED["Outputs"]["MainTableName"]["Value"] == "main-2"


def test_everything_else_stays_as_it_is() -> None:
    for name in ("DeliveryQueue", "Api", "SettingsKey", "FrontDoorDistribution"):
        assert CHANGED["Resources"][name] == TEMPLATE["Resources"][name]
    assert CHANGED["Parameters"] == TEMPLATE["Parameters"]
    assert resources.template() == TEMPLATE


def test_an_import_adds_the_tables_and_changes_nothing_else() -> None:
    imported = with_tables(CHANGED, TEMPLATE, list(TABLES))

    assert {name: imported["Resources"].pop(name) for name in TABLES} == {
        name: TEMPLATE["Resources"][name] for name in TABLES
    }
    assert imported == CHANGED


def test_the_restored_tables_are_imported_as_the_stack_s_own() -> None:
    client = boto3.client(
        "cloudformation", "eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    stack = {"StackName": "shop", "CreationTime": "2026-01-01"}
    parameters = [{"ParameterKey": "OwnHosts", "ParameterValue": "a"}]
    uploaded: list[dict[str, Any]] = []

    def upload(text: str) -> str:
        uploaded.append(json.loads(text))
        return "https://bucket/restore.json"

    stub = Stubber(client)
    stub.add_response(
        "get_template",
        {"TemplateBody": json.dumps(CHANGED)},
        {"StackName": "shop", "TemplateStage": "Processed"},
    )
    stub.add_response(
        "describe_stacks",
        {"Stacks": [{**stack, "StackStatus": "UPDATE_COMPLETE", "Parameters": parameters}]},
    )
    stub.add_response(
        "create_change_set",
        {},
        {
            "StackName": "shop",
            "ChangeSetName": ANY,
            "ChangeSetType": "IMPORT",
            "TemplateURL": "https://bucket/restore.json",
            "Capabilities": ["CAPABILITY_IAM"],
            "Parameters": [{"ParameterKey": "OwnHosts", "UsePreviousValue": True}],
            "ResourcesToImport": [
                {
                    "ResourceType": "AWS::DynamoDB::Table",
                    "LogicalResourceId": logical,
                    "ResourceIdentifier": {"TableName": table.name},
                }
                for logical, table in TABLES.items()
            ],
        },
    )
    stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE"})
    stub.add_response("execute_change_set", {}, {"StackName": "shop", "ChangeSetName": ANY})
    stub.add_response("describe_stacks", {"Stacks": [{**stack, "StackStatus": "IMPORT_COMPLETE"}]})
    with stub:
        restore.adopt(client, "shop", TEMPLATE, TABLES, upload=upload)

    stub.assert_no_pending_responses()
    assert uploaded == [with_tables(CHANGED, TEMPLATE, list(TABLES))]
