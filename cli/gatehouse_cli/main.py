"""The `gatehouse` command: one module for each command or group of commands."""

from typing import Any

import click

from gatehouse_cli.audit import audit
from gatehouse_cli.bootstrap import bootstrap
from gatehouse_cli.deploy import build, deploy
from gatehouse_cli.invoke import invoke, invoke_all, start_api
from gatehouse_cli.logs import logs
from gatehouse_cli.open_page import open_page
from gatehouse_cli.restore import restore
from gatehouse_cli.secrets import secrets
from gatehouse_cli.terminal import accept_every_character
from gatehouse_cli.up import clean_state, up


class _SafeGroup(click.Group):
    """A group whose commands write any character to any terminal."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command of this process."""
        accept_every_character()
        return super().main(*args, **extra)


@click.group(cls=_SafeGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gatehouse-cli", message="gatehouse %(version)s")
def cli() -> None:
    """Run Gatehouse on this machine, and operate a deployed stack."""


cli.add_command(up)
cli.add_command(clean_state)
cli.add_command(invoke)
cli.add_command(invoke_all)
cli.add_command(start_api)
cli.add_command(bootstrap)
cli.add_command(audit)
cli.add_command(secrets)
cli.add_command(logs)
cli.add_command(open_page)
cli.add_command(build)
cli.add_command(deploy)
cli.add_command(restore)
