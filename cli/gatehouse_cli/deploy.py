"""`gatehouse build` and `gatehouse deploy`: the stack in your own AWS account."""

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import boto3
import click

from gatehouse_cli import bootstrap, samconfig, settings_keys, stack_functions
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
    """Build, then deploy with your AWS credentials."""
    project = find_project(Path.cwd())
    seed = bootstrap.file_from_environment()
    keys = settings_keys.from_environment()
    template = _build(project, place)
    # Parameters on the command line replace all of samconfig.toml's, so all are passed here. A
    # settings key that is not passed stays the same: CloudFormation reuses its value.
    parameters = {**samconfig.read(project, place).parameters, "DeployedAt": now(), **keys}
    if seed is not None:
        parameters["BootstrapPath"] = str(seed)
    with settings_keys.override_words(parameters) as words:
        _sam(project, place, ["deploy", "--template-file", str(template), *words], {})
    if seed is not None:
        _seed(project, place, seed)


def _seed(project: Path, place: str, file: Path) -> None:
    """Apply the bootstrap file to the stack that was just deployed."""
    session = boto3.Session()
    outputs = stack_functions.stack_outputs(session, samconfig.read(project, place).stack)
    try:
        bootstrap.apply(
            session.client("lambda"), outputs["BootstrapFunctionName"], file, dry_run=False
        )
    except stack_functions.RefusedError as refused:
        raise CommandError(f"Deployed, but {file} was refused: {refused}") from refused


def now() -> str:
    """Return the current time in the format of the parameter DeployedAt."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _build(project: Path, place: str) -> Path:
    """Build for the place's runtime and architecture; return the built template."""
    parameters = samconfig.read(project, place).parameters
    target = samconfig.layer_target(
        project, parameters["PythonRuntime"], parameters["Architecture"]
    )
    words = samconfig.build_words(project, target)
    words += ["--parameter-overrides", *samconfig.overrides(parameters)]
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
