"""`gatehouse open`: show the page in a browser."""

import webbrowser
from pathlib import Path

import click

from gatehouse_cli.errors import CommandError
from gatehouse_cli.target import get_target, target_options
from gatehouse_cli.terminal import print_line


@click.command("open")
@target_options
def open_page(url: str | None, key_file: Path | None) -> None:
    """Open the page of a stack in a browser, and print its address.

    The key is not passed on: the page asks for it.
    """
    address = f"{get_target(url, key_file).url}/ui"
    print_line(address)
    if not webbrowser.open(address):
        raise CommandError("No browser could be started here: open the address yourself.")
