"""Build and deploy with the SAM CLI, to the AWS account of the user's credentials."""

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from gatehouse_cli import samconfig, settings_keys
from gatehouse_cli.aws_session import open_session
from gatehouse_cli.errors import CommandError
from gatehouse_cli.project import get_tool


def now() -> str:
    """Return the current time in the format of the parameter DeployedAt."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def build(project: Path, place: str) -> Path:
    """Build for the place's runtime and architecture; return the built template."""
    given = samconfig.read(project, place).parameters
    target = samconfig.layer_target(project, given["PythonRuntime"], given["Architecture"])
    words = samconfig.build_words(project, target)
    words += ["--parameter-overrides", *samconfig.overrides(given)]
    run(project, place, ["build", *words], target)
    return samconfig.built_template(project, target)


def deploy(project: Path, place: str, template: Path, given: Mapping[str, str]) -> None:
    """Deploy a built template with these parameters.

    Raises:
        CommandError: The deployment failed; SAM has printed why.

    """
    # SAM does not read AWS_REGION.
    region = str(open_session(samconfig.read(project, place)).region_name)
    words = ["deploy", "--template-file", str(template), "--region", region]
    with settings_keys.override_words({**given, "DeployedAt": now()}) as overrides:
        run(project, place, [*words, *overrides], {})


def run(project: Path, place: str, words: list[str], environment: Mapping[str, str]) -> None:
    """Run SAM with the settings of a place. Raises CommandError if it fails."""
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
