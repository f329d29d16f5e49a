"""The `gatehouse` command: one module for each command or group of commands."""

import click

from gatehouse_cli.audit import audit
from gatehouse_cli.bootstrap import bootstrap
from gatehouse_cli.deploy import build, deploy
from gatehouse_cli.logs import logs
from gatehouse_cli.secrets import secrets
from gatehouse_cli.up import clean_state, up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gatehouse-cli", message="gatehouse %(version)s")
def cli() -> None:
    """Run Gatehouse on this machine, and operate a deployed stack."""


cli.add_command(up)
cli.add_command(clean_state)
cli.add_command(bootstrap)
cli.add_command(audit)
cli.add_command(secrets)
cli.add_command(logs)
cli.add_command(build)
cli.add_command(deploy)
