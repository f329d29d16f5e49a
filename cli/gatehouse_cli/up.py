"""`gatehouse up` runs the whole stack on this machine until Ctrl-C."""

import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from gatehouse_cli.errors import CommandError, OptionError
from gatehouse_cli.interrupts import ended_in_order
from gatehouse_cli.local.folder import LocalFolder, place
from gatehouse_cli.local.logs import Follower, Line
from gatehouse_cli.local.stack import LocalStack, Plan, clean, running
from gatehouse_cli.project import find_project
from gatehouse_cli.terminal import print_line

POLL_SECONDS = 1.0


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--engine-port", type=click.IntRange(1, 65535), help="Default: a free port.")
@click.option("--host", "hosts", multiple=True, metavar="NAME[:PORT]", help="Answer this name too.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="Default .gatehouse")
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Stack parameter.")
@click.option("--iam/--no-iam", default=True, show_default=True, help="Enforce IAM policies.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Print the logs.")
def up(  # click passes one argument for each option.
    *,
    port: int,
    engine_port: int | None,
    hosts: tuple[str, ...],
    home: Path | None,
    overrides: tuple[str, ...],
    iam: bool,
    follow: bool,
) -> None:
    """Run the stack on this machine and print its logs.

    Ctrl-C stops it. GATEHOUSE_PORTS adds ports, separated by commas or spaces.
    """
    project = find_project(Path.cwd())
    folder = place(project, home)
    plan = Plan(
        project=project,
        home=folder,
        ports=(port, *more_ports(os.environ.get("GATEHOUSE_PORTS", ""))),
        hosts=tuple(host.lower() for host in hosts),
        engine_port=engine_port,
        parameters=dict(_pair(item) for item in overrides),
        enforce_iam=iam,
    )
    try:
        with ended_in_order(), running(plan, _steps()) as stack:
            follower = Follower(stack.clients.logs, stack.log_groups, int(time.time() * 1000))
            _announce(stack, folder)
            _follow(stack, follower if follow else None)
    except KeyboardInterrupt:
        click.echo("Stopped.")


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="Default .gatehouse")
def clean_state(home: Path | None) -> None:
    """Delete the local stack's state, key and logs.

    Installed tools are kept.
    """
    folder = place(find_project(Path.cwd()), home)
    clean(folder)
    click.echo(f"Deleted the state, the key and the logs in {_shown(folder.root)}.")


def more_ports(text: str) -> tuple[int, ...]:
    """Return the ports in GATEHOUSE_PORTS.

    Raises:
        CommandError: One of them is not a valid port.

    """
    words = re.split(r"[,\s]+", text.strip()) if text.strip() else []
    for word in words:
        if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):  # noqa: PLR2004
            raise CommandError(f"GATEHOUSE_PORTS: {word!r} is not a valid port.")
    return tuple(int(word) for word in words)


def _pair(item: str) -> tuple[str, str]:
    name, separator, value = item.partition("=")
    if not (name and separator):
        raise OptionError(f"--set must be NAME=VALUE, not {item!r}.")
    return name, value


def _steps() -> Callable[[str], None]:
    began = time.monotonic()

    def report(step: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {step}")

    return report


def _announce(stack: LocalStack, home: LocalFolder) -> None:
    file = shlex.quote(_shown(home.env_file))
    key = f"is new, and is in {file}:\n{stack.api_key}" if stack.key_is_new else f"is in {file}"
    click.echo(
        "\nGatehouse is ready.\n\n"
        f"URL: {stack.url}\n"
        f"Page: {stack.url}/ui\n"
        f"The key {key}\n\n"
        "Try it in another terminal:\n"
        f"  . {file}\n"
        '  curl -H "Authorization: Bearer $GATEHOUSE_API_KEY" $GATEHOUSE_URL/v1/whoami\n\n'
        "Ctrl-C stops it; its state stays.\n"
    )


def _shown(path: Path) -> str:
    """Return a path as seen from the current folder, or in full where it is elsewhere."""
    here = Path.cwd()
    return f"./{path.relative_to(here)}" if path.is_relative_to(here) else str(path)


def _follow(stack: LocalStack, follower: Follower | None) -> None:
    """Print the logs until Ctrl-C. Raises CommandError when the engine ends."""
    while True:
        stack.engine.check()
        for line in follower.new_lines() if follower else ():
            text = _terminal_line(line, stack.log_groups)
            if text:
                print_line(text)
        time.sleep(POLL_SECONDS)


def _terminal_line(line: Line, names: Mapping[str, str]) -> str | None:
    """Return one line for the terminal; None for the lines that Lambda writes around each call."""
    if line.message.startswith(("START RequestId:", "END RequestId:", "REPORT RequestId:")):
        return None
    at = datetime.fromtimestamp(line.timestamp_ms / 1000, UTC)
    name = names[line.group].removesuffix("LogGroup").lower()
    return f"{at:%H:%M:%S}.{line.timestamp_ms % 1000:03d}  {name:<15}  {line.message}"
