"""`gatehouse invoke`, `invoke-all` and `start-api`: functions in containers, by `sam local`."""

import json
import sys
from pathlib import Path

import click

from gatehouse_cli.errors import CommandError
from gatehouse_cli.interrupts import ended_in_order
from gatehouse_cli.local import answers, container_runs, container_template, template
from gatehouse_cli.local.folder import LocalFolder, place
from gatehouse_cli.project import find_project

home_option = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Default .gatehouse"
)
skip_pull_option = click.option(
    "--skip-pull-image", "skip_pull", is_flag=True, help="Use the images that Docker has."
)


@click.command()
@click.argument("function")
@click.option("--event", metavar="NAME|FILE", help="Default: the function's own of events/.")
@home_option
@skip_pull_option
def invoke(function: str, event: str | None, *, home: Path | None, skip_pull: bool) -> None:
    """Invoke FUNCTION in a container and print its answer.

    The function uses the tables, keys and queues of the running local stack.
    """
    project, folder = _places(home)
    known = container_template.functions(template.document(project / "template.yaml"))
    name = container_runs.find_function(known, function)
    file = container_runs.find_event(project, event or container_runs.own_event(name))
    with ended_in_order(), container_runs.prepared(project, folder, skip_pull=skip_pull) as runs:
        answer = runs.invoke(name, file, errors=None, output=folder.logs / "invoke.out")
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    if isinstance(answer, dict) and "errorMessage" in answer:
        raise CommandError(f"{name} raised {answer.get('errorType', 'an error')}.")


@click.command()
@home_option
@skip_pull_option
def invoke_all(*, home: Path | None, skip_pull: bool) -> None:
    """Invoke every function in a container and check the answers.

    Each gets its own event of events/, and must give the answer of events/answers/.
    """
    project, folder = _places(home)
    failed = 0
    with ended_in_order(), container_runs.prepared(project, folder, skip_pull=skip_pull) as runs:
        for name in runs.functions:
            problem = _check(runs, name, folder)
            failed += problem is not None
            click.echo(f"{name:<26}  {problem or 'as expected'}")
        click.echo(f"{len(runs.functions) - failed} of {len(runs.functions)} as expected")
    if failed:
        raise CommandError(f"{failed} answers differ: logs are in {folder.logs}/invoke-*.log.")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@home_option
@skip_pull_option
def start_api(*, port: int, home: Path | None, skip_pull: bool) -> None:
    """Serve the REST API from containers until Ctrl-C."""
    project, folder = _places(home)
    try:
        with (
            ended_in_order(),
            container_runs.prepared(project, folder, skip_pull=skip_pull) as runs,
        ):
            code = runs.serve(port)
    except KeyboardInterrupt:
        click.echo("Stopped.")
    else:
        sys.exit(code)


def _check(runs: container_runs.ContainerRuns, name: str, folder: LocalFolder) -> str | None:
    """Return how a function's answer differs from the expected one, None when it does not."""
    event = container_runs.own_event(name)
    file = container_runs.find_event(runs.project, event)
    log = folder.logs / f"invoke-{event}.log"
    try:
        with log.open("wb") as errors:
            answer = runs.invoke(name, file, errors=errors, output=log.with_suffix(".out"))
    except CommandError as error:
        return str(error)
    return answers.find_difference(container_runs.expected_answer(runs.project, name), answer)


def _places(home: Path | None) -> tuple[Path, LocalFolder]:
    project = find_project(Path.cwd())
    return project, place(project, home)
