"""`gatehouse build` and `gatehouse deploy`: the stack in your own AWS account."""

from collections.abc import Mapping
from pathlib import Path

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse_cli import (
    aws_sam,
    bootstrap,
    parameters,
    protection,
    samconfig,
    settings_keys,
    stack_functions,
    stack_state,
)
from gatehouse_cli.aws_session import open_session, place_option
from gatehouse_cli.errors import CommandError
from gatehouse_cli.project import find_project


@click.command()
@place_option
def build(place: str) -> None:
    """Build the layers and functions for AWS.

    Wheels and bytecode are those of the runtime in the place's parameters.
    """
    aws_sam.build(find_project(Path.cwd()), place)


@click.command()
@place_option
def deploy(place: str) -> None:
    """Build, then deploy with your AWS credentials.

    Before the build it checks the state of the stack; after a success it protects the tables
    from deletion.
    """
    project = find_project(Path.cwd())
    seed = bootstrap.file_from_environment()
    keys = settings_keys.from_environment()
    target = samconfig.read(project, place)
    session = open_session(target)
    # Parameters on the command line replace all of samconfig.toml's, so all are passed here. A
    # settings key that is not passed stays the same: CloudFormation reuses its value.
    given = {**target.parameters, **keys}
    if seed is not None:
        given["BootstrapPath"] = str(seed)
    with stack_functions.readable_errors(target.stack):
        _announce(session, target.stack, given, project / "template.yaml")
    template = aws_sam.build(project, place)
    try:
        aws_sam.deploy(project, place, template, given)
    except CommandError as error:
        raise CommandError(f"{error}{_why(session, target.stack)}") from error
    with stack_functions.readable_errors(target.stack):
        outputs = stack_functions.stack_outputs(session, target.stack)
        tables = [outputs["KeysTableName"], outputs["MainTableName"]]
        for name in protection.protect(session.client("dynamodb"), tables):
            click.echo(f"Protected the table {name} from deletion.", err=True)
    if seed is not None:
        _seed(session, outputs["BootstrapFunctionName"], seed)


def _announce(session: boto3.Session, stack: str, given: Mapping[str, str], template: Path) -> None:
    """Print the stack's state and its parameters. Raises CommandError if it cannot be deployed."""
    found, sentence = stack_state.check(session.client("cloudformation"), stack)
    click.echo(sentence, err=True)
    if found is not None and found.parameters:
        known = parameters.declared(template)
        for line in parameters.changes(found.parameters, given, known):
            click.echo(f"  {line}", err=True)


def _why(session: boto3.Session, stack: str) -> str:
    """Return the state that a failed deployment left, and the way out; empty if it needs none."""
    client = session.client("cloudformation")
    try:
        found = stack_state.find(client, stack)
        sentence = stack_state.explain(client, stack, found.status) if found else None
    except (BotoCoreError, ClientError):
        return ""  # SAM has printed its own error, which comes first.
    return f" {sentence}" if sentence else ""


def _seed(session: boto3.Session, function_name: str, file: Path) -> None:
    """Apply the bootstrap file to the stack that was just deployed."""
    try:
        bootstrap.apply(stack_functions.functions(session), function_name, file, dry_run=False)
    except stack_functions.RefusedError as refused:
        raise CommandError(f"Deployed, but {file} was refused: {refused}") from refused
