"""`gatehouse deploy`: the stack's state and parameters before, protection of its tables after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from click.testing import CliRunner
from moto import mock_aws

from gatehouse_cli import aws_sam, parameters, protection, samconfig, stack_state
from gatehouse_cli.errors import CommandError
from gatehouse_cli.main import cli
from support.worlds import cloud_stack

PROJECT = Path(__file__).parents[2]
NAME = "gatehouse-dev"
BEGAN = {"LogicalResourceId": "shop", "ResourceStatus": "CREATE_IN_PROGRESS"}
EVENTS = [  # newest first
    {"LogicalResourceId": "shop", "ResourceStatus": "ROLLBACK_COMPLETE"},
    {
        "LogicalResourceId": "MainTable",
        "ResourceStatus": "CREATE_FAILED",
        "ResourceStatusReason": "Resource creation cancelled",
    },
    {
        "LogicalResourceId": "ApiLogging",
        "ResourceStatus": "CREATE_FAILED",
        "ResourceStatusReason": "The role ARN does not have required permissions",
    },
    BEGAN,
    {
        "LogicalResourceId": "Older",
        "ResourceStatus": "CREATE_FAILED",
        "ResourceStatusReason": "of the attempt before",
    },
]


def described(status: str) -> dict[str, Any]:
    """Return a stack as CloudFormation describes it."""
    return {"StackName": "shop", "CreationTime": "2026-01-01", "StackStatus": status}


def check(status: str, *, failed: str = "DELETE_FAILED") -> tuple[stack_state.Stack | None, str]:
    """Check a stack that CloudFormation describes with this status."""
    client = boto3.client("cloudformation", "eu-west-1", **CREDENTIALS)
    one = {"StackId": "arn:aws:cloudformation:shop", "EventId": "1", "StackName": "shop"}
    when = {"Timestamp": "2026-01-01"}
    resources = [
        {"LogicalResourceId": "KeysTable", "ResourceType": "T", "ResourceStatus": failed, **when},
        {"LogicalResourceId": "MainTable", "ResourceType": "T", "ResourceStatus": failed, **when},
        {
            "LogicalResourceId": "Api",
            "ResourceType": "T",
            "ResourceStatus": "DELETE_COMPLETE",
            **when,
        },
    ]
    stub = Stubber(client)
    stub.add_response("describe_stacks", {"Stacks": [described(status)]})
    if "FAILED" in status and status != "CREATE_FAILED" and status not in stack_state.READY:
        stub.add_response("describe_stack_resources", {"StackResources": resources})
    stub.add_response(
        "describe_stack_events", {"StackEvents": [{**one, **when, **event} for event in EVENTS]}
    )
    with stub:
        return stack_state.check(client, "shop")


CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


AT = "failed at KeysTable, MainTable"


@pytest.mark.parametrize(
    ("status", "what", "command"),
    [
        ("ROLLBACK_COMPLETE", "Its first deployment failed and was undone", "delete-stack"),
        ("CREATE_FAILED", "Its first deployment failed and was not undone", "delete-stack"),
        ("ROLLBACK_FAILED", f"Its first deployment failed, and undoing it {AT}", "delete-stack"),
        (
            "DELETE_FAILED",
            f"Deleting it {AT}",
            "delete-stack --retain-resources KeysTable MainTable",
        ),
        (
            "UPDATE_ROLLBACK_FAILED",
            f"Its last update failed, and undoing it {AT}",
            "continue-update-rollback",
        ),
        ("DELETE_IN_PROGRESS", "It is being deleted", "wait stack-delete-complete"),
    ],
)
def test_a_state_that_blocks_is_named_with_the_way_out(
    status: str, what: str, command: str
) -> None:
    with pytest.raises(CommandError) as refused:
        check(status)

    assert str(refused.value) == (
        f"Stack shop is in the state {status}. {what}: run"
        f" `aws cloudformation {command} --stack-name shop --region eu-west-1`,"
        " then deploy again. The first failure was"
        " ApiLogging: The role ARN does not have required permissions"
    )


def test_a_running_operation_is_waited_for() -> None:
    with pytest.raises(CommandError, match=r"Another operation is running on it: run .*events"):
        check("UPDATE_ROLLBACK_IN_PROGRESS")


@pytest.mark.parametrize(
    ("status", "note"),
    [
        ("CREATE_COMPLETE", ""),
        ("UPDATE_COMPLETE", ""),
        ("UPDATE_ROLLBACK_COMPLETE", " Its last update failed and was undone."),
        (
            "REVIEW_IN_PROGRESS",
            " It has a change set that was never executed, and no resources yet.",
        ),
    ],
)
def test_a_state_that_can_be_deployed_is_named(status: str, note: str) -> None:
    stack, sentence = check(status)

    assert stack == stack_state.Stack(status)
    assert sentence == f"Stack shop is in the state {status}.{note}"


def test_every_state_of_cloudformation_is_known_or_means_that_it_works() -> None:
    model = boto3.client("cloudformation", "eu-west-1", **CREDENTIALS).meta.service_model
    states = set(model.shape_for("StackStatus").enum) - {"DELETE_COMPLETE"}
    known = set(stack_state.READY) | set(stack_state._BLOCKED)  # noqa: SLF001

    assert {state for state in states - known if not state.endswith("_IN_PROGRESS")} == set()


# ---- Parameters ----------------------------------------------------------------------------------

KNOWN = {
    "LogRetentionDays": parameters.Parameter("30", secret=False),
    "AlarmTopicArn": parameters.Parameter("", secret=False),
    "AccountCreation": parameters.Parameter("closed", secret=False),
    "SettingsEncryptionKey": parameters.Parameter("", secret=True),
    "DeployedAt": parameters.Parameter("", secret=False),
}


def test_changed_and_kept_parameters_are_listed_and_secrets_are_not() -> None:
    deployed = {
        "LogRetentionDays": "90",
        "AlarmTopicArn": "arn:topic",
        "AccountCreation": "closed",
        "SettingsEncryptionKey": "****",
        "DeployedAt": "2026-01-01T00:00:00Z",
    }
    given = {"AccountCreation": "open", "AlarmTopicArn": "", "SettingsEncryptionKey": "hidden text"}

    assert parameters.changes(deployed, given, KNOWN) == [
        "LogRetentionDays stays 90, as deployed earlier; the default is 30",
        "AlarmTopicArn changes from arn:topic to empty",
        "AccountCreation changes from closed to open",
    ]


def test_a_new_parameter_changes_from_its_default() -> None:
    assert parameters.changes({}, {"LogRetentionDays": "7"}, KNOWN) == [
        "LogRetentionDays changes from 30 to 7"
    ]
    assert parameters.changes({}, {"LogRetentionDays": "30"}, KNOWN) == []


def test_the_parameters_of_the_template_are_read() -> None:
    known = parameters.declared(PROJECT / "template.yaml")

    assert known["LogRetentionDays"] == parameters.Parameter("30", secret=False)
    assert known["SettingsEncryptionKeyPrevious"] == parameters.Parameter("", secret=True)


def test_region_and_profile_of_a_place_are_read(tmp_path: Path) -> None:
    (tmp_path / "samconfig.toml").write_text(
        '[dev.global.parameters]\nstack_name = "shop"\nregion = "eu-west-1"\n'
        '[dev.deploy.parameters]\nprofile = "work"\nparameter_overrides = ["A=b=c"]\n'
    )

    assert samconfig.read(tmp_path, "dev") == samconfig.Place(
        "shop", {"A": "b=c"}, region="eu-west-1", profile="work"
    )
    assert samconfig.read(PROJECT, "prod").region is None


# ---- The command ---------------------------------------------------------------------------------


@pytest.fixture
def sam(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """Be in an AWS account in memory. SAM only creates the stack there, or creates it and fails."""
    said = {"fails": False, "names_the_region": False}

    def run(_project: Path, _place: str, words: list[str], _environment: object) -> None:
        client = boto3.client("cloudformation")
        if words[0] == "deploy":
            said["names_the_region"] = client.meta.region_name in words
        if words[0] == "deploy" and stack_state.find(client, NAME) is None:
            cloud_stack.create_stack(NAME)
        if words[0] == "deploy" and said["fails"]:
            raise CommandError("sam deploy failed with code 1.")

    monkeypatch.setattr(aws_sam, "run", run)
    monkeypatch.delenv("CHORUS_BOOTSTRAP", raising=False)
    with cloud_stack.account(monkeypatch):
        yield said


def test_the_first_deployment_protects_the_tables_after_its_success(sam: dict[str, bool]) -> None:
    result = CliRunner().invoke(cli, ["deploy"])

    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines[0] == "Stack gatehouse-dev does not exist yet: this is its first deployment."
    assert [line.rpartition(" from ")[2] for line in lines[-2:]] == ["deletion.", "deletion."]
    assert result.stdout == ""
    assert sam["names_the_region"]  # SAM does not read AWS_REGION
    assert list(cloud_stack.protected_tables().values()) == [True, True]


@pytest.mark.usefixtures("sam")
def test_a_later_deployment_shows_the_state_and_the_changed_parameters() -> None:
    cloud_stack.create_stack(NAME, LogRetentionDays="90")
    first, again = (CliRunner().invoke(cli, ["deploy"]) for _ in range(2))

    lines = first.stderr.splitlines()
    assert lines[0] == "Stack gatehouse-dev is in the state CREATE_COMPLETE."
    assert "  LogRetentionDays changes from 90 to 7" in lines
    assert sum(line.startswith("Protected") for line in lines) == 2
    assert "Protected" not in again.output
    assert list(cloud_stack.protected_tables().values()) == [True, True]


def test_a_failed_deployment_protects_nothing(sam: dict[str, bool]) -> None:
    sam["fails"] = True
    result = CliRunner().invoke(cli, ["deploy"])

    assert result.exit_code == 1
    assert result.output.endswith("Error: sam deploy failed with code 1.\n")
    assert list(cloud_stack.protected_tables().values()) == [False, False]


def test_a_protected_table_is_left_alone() -> None:
    with mock_aws():
        client = boto3.client("dynamodb", "us-east-1")
        table: dict[str, Any] = {**cloud_stack.TABLE, "DeletionProtectionEnabled": True}
        client.create_table(TableName="one", **table)

        assert protection.protect(client, ["one"]) == []
