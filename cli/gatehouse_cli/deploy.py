"""`gatehouse build` and `gatehouse deploy`: the stack in your own AWS account."""

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse_cli import (
    bootstrap,
    parameters,
    protection,
    samconfig,
    settings_keys,
    stack_functions,
    stack_state,
)
from gatehouse_cli.errors import CommandError
from gatehouse_cli.project import find_project, get_tool

place_option = click.option(
    "--place", default="dev", show_default=True, help="Parameter set in samconfig.toml."
)


@click.command()
@place_option
def build(place: str) -> None:
    """Build the layers and functions for AWS.

    Wheels and bytecode are those of the runtime in the place's parameters.
    """
    _build(find_project(Path.cwd()), place)


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
    session = boto3.Session(region_name=target.region, profile_name=target.profile)
    # Parameters on the command line replace all of samconfig.toml's, so all are passed here. A
    # settings key that is not passed stays the same: CloudFormation reuses its value.
    given = {**target.parameters, **keys}
    if seed is not None:
        given["BootstrapPath"] = str(seed)
    with stack_functions.readable_errors(target.stack):
        _announce(session, target.stack, given, project / "template.yaml")
    template = _build(project, place)
    with settings_keys.override_words({**given, "DeployedAt": now()}) as words:
        try:
            _sam(project, place, ["deploy", "--template-file", str(template), *words], {})
        except CommandError as error:
            raise CommandError(f"{error}{_why(session, target.stack)}") from error
    with stack_functions.readable_errors(target.stack):
        outputs = stack_functions.stack_outputs(session, target.stack)
        tables = [outputs["KeysTableName"], outputs["MainTableName"]]
        for name in protection.protect(session.client("dynamodb"), tables):
            click.echo(f"Protected the table {name} from deletion.")
    if seed is not None:
        _seed(session, outputs["BootstrapFunctionName"], seed)


def _announce(session: boto3.Session, stack: str, given: Mapping[str, str], template: Path) -> None:
    """Print the stack's state and its parameters. Raises CommandError if it cannot be deployed."""
    found, sentence = stack_state.check(session.client("cloudformation"), stack)
    click.echo(sentence)
    if found is not None and found.parameters:
        known = parameters.declared(template)
        for line in parameters.changes(found.parameters, given, known):
            click.echo(f"  {line}")


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


def now() -> str:
    """Return the current time in the format of the parameter DeployedAt."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _build(project: Path, place: str) -> Path:
    """Build for the place's runtime and architecture; return the built template."""
    given = samconfig.read(project, place).parameters
    target = samconfig.layer_target(project, given["PythonRuntime"], given["Architecture"])
    words = samconfig.build_words(project, target)
    words += ["--parameter-overrides", *samconfig.overrides(given)]
    _sam(project, place, ["build", *words], target)
    return samconfig.built_template(project, target)


def _sam(project: Path, place: str, words: list[str], environment: Mapping[str, str]) -> None:
    # Explicit, because SAM looks for its settings beside the built template.
    settings = ["--config-file", str(project / "samconfig.toml"), "--config-env", place]
    code = subprocess.run(  # noqa: S603  # Our own tool, by its full path.
        [str(get_tool(project, "sam", "sam")), *words, *settings],
        cwd=project,
        env={"SAM_CLI_TELEMETRY": "0", **os.environ, **environment},
        check=False,
    ).returncode
    if code != 0:
        raise CommandError(f"sam {words[0]} failed with code {code}.")
