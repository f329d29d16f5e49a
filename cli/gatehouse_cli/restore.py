"""`gatehouse restore`: let a stack use tables that were restored from a backup."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import click

from gatehouse_cli import (
    aws_sam,
    restored_tables,
    samconfig,
    stack_functions,
    stack_state,
    yaml_text,
)
from gatehouse_cli.aws_session import open_session, place_option
from gatehouse_cli.project import find_project
from gatehouse_cli.restored_tables import TABLES, Restored

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

# Where `sam deploy --resolve-s3` uploads to: a stack of SAM's own, and its output.
_SAM_STACK, _SAM_BUCKET = "aws-sam-cli-managed-default", "SourceBucket"


@click.command()
@place_option
@click.option("--keys-table", required=True, metavar="NAME", help="The restored table of keys.")
@click.option("--main-table", required=True, metavar="NAME", help="The restored main table.")
def restore(place: str, keys_table: str, main_table: str) -> None:
    """Deploy the stack onto restored tables.

    It turns on what a backup does not have: stream, expiry, point-in-time recovery, protection.
    Then the restored tables take the place of the stack's own, which stay in the account.
    """
    project = find_project(Path.cwd())
    target = samconfig.read(project, place)
    session = open_session(target)
    client = session.client("cloudformation")
    with stack_functions.readable_errors(target.stack):
        click.echo(stack_state.check(client, target.stack)[1], err=True)
        built = aws_sam.build(project, place)
        template = yaml_text.load(built.read_text(encoding="utf-8"))
        names = dict(zip(TABLES, (keys_table, main_table), strict=True))
        dynamo = session.client("dynamodb")
        tables = {
            logical: restored_tables.prepare(
                dynamo, name, template["Resources"][logical]["Properties"]
            )
            for logical, name in names.items()
        }
        click.echo("The restored tables are ready. The stack is deployed onto them.", err=True)
        _deploy_onto(project, place, built, template, tables)
        click.echo("The stack uses the restored tables. They become part of it.", err=True)
        adopt(
            client,
            target.stack,
            template,
            tables,
            upload=lambda text: _upload(session, target.stack, text),
        )
        aws_sam.deploy(project, place, built, target.parameters)
    click.echo(
        "Restored. Delete the tables that the stack had when you no longer need them.", err=True
    )


def _deploy_onto(
    project: Path,
    place: str,
    built: Path,
    template: dict[str, Any],
    tables: Mapping[str, Restored],
) -> None:
    """Deploy a copy of the built template, beside it since its paths are relative."""
    path = built.with_name("restored.yaml")
    changed = restored_tables.without_tables(template, tables)
    path.write_text(yaml_text.dump(changed), encoding="utf-8")
    aws_sam.deploy(project, place, path, samconfig.read(project, place).parameters)


def adopt(
    client: "CloudFormationClient",
    stack: str,
    template: Mapping[str, Any],
    tables: Mapping[str, Restored],
    *,
    upload: Callable[[str], str],
) -> None:
    """Import the restored tables into the stack, as the tables of its template.

    `upload` stores a template, which is too long for a request, and returns its URL.
    """
    deployed = client.get_template(StackName=stack, TemplateStage="Processed")["TemplateBody"]
    if isinstance(deployed, str):
        deployed = yaml_text.load(deployed)
    text = json.dumps(restored_tables.with_tables(deployed, template, list(tables)))
    # One that failed stays, so each attempt has a name of its own.
    name = f"gatehouse-restore-{int(time.time())}"
    client.create_change_set(
        StackName=stack,
        ChangeSetName=name,
        ChangeSetType="IMPORT",
        TemplateURL=upload(text),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=_same_parameters(client, stack),
        ResourcesToImport=[
            {
                "ResourceType": "AWS::DynamoDB::Table",
                "LogicalResourceId": logical,
                "ResourceIdentifier": {"TableName": table.name},
            }
            for logical, table in tables.items()
        ],
    )
    client.get_waiter("change_set_create_complete").wait(StackName=stack, ChangeSetName=name)
    client.execute_change_set(StackName=stack, ChangeSetName=name)
    client.get_waiter("stack_import_complete").wait(StackName=stack)


def _same_parameters(client: "CloudFormationClient", stack: str) -> list[Any]:
    found = stack_state.find(client, stack)
    names = found.parameters if found else ()
    return [{"ParameterKey": name, "UsePreviousValue": True} for name in names]


def _upload(session: boto3.Session, stack: str, text: str) -> str:
    """Upload a template to SAM's bucket; return its URL."""
    described = session.client("cloudformation").describe_stacks(StackName=_SAM_STACK)["Stacks"][0]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}
    client = session.client("s3")
    bucket, key = outputs[_SAM_BUCKET], f"{stack}/restore.json"
    client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    place = {"Bucket": bucket, "Key": key}
    return client.generate_presigned_url("get_object", Params=place).partition("?")[0]
