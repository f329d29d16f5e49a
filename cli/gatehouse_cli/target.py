"""The stack whose API a command calls: a URL and a key that come from the same place.

The places, in this order: the options, the environment, `.gatehouse/local.env`. A URL from one
place is never used with a key from another: the key of one stack would be sent to another one, or
a check meant for one stack would report on another.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from gatehouse_cli.errors import CommandError, OptionError, reason
from gatehouse_cli.local import env_file
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.terminal import print_line

URL, KEY = "GATEHOUSE_URL", "GATEHOUSE_API_KEY"
_LOCAL = LocalFolder(Path(".gatehouse")).env_file


@dataclass(frozen=True)
class Target:
    """A stack's base URL without a slash at the end, and a key of it."""

    url: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Place:
    """A place that may name a target, and how it calls the URL and the key."""

    has: str  # the place as a subject with its verb
    url_name: str
    key_name: str
    url: str
    key: str = field(repr=False)
    hint: str


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a target, `url` and `key_file`."""
    key_file = click.option(
        "--key-file",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        help="File with the API key; - reads standard input.",
    )
    return click.option("--url", help="The stack's base URL.")(key_file(command))


def get_target(url: str | None, key_file: Path | None) -> Target:
    """Return the target of a command, and print where it comes from unless options name it.

    Raises:
        CommandError: No place names a target, or the first that names one has only half of it.

    """
    if url is not None and not url.strip():  # as from a variable that is not set
        raise OptionError("--url is empty: give the stack's base URL.")
    options = Place(
        "the options name",
        url_name="--url",
        key_name="--key-file",
        url=url or "",
        key="" if key_file is None else _read_key(key_file),
        hint="give both options, or none of them",
    )
    environment = Place(
        "the environment has",
        url_name=URL,
        key_name=KEY,
        url=os.environ.get(URL, ""),
        key=os.environ.get(KEY, ""),
        hint="set both variables, or none of them",
    )
    stored = env_file.variables(_LOCAL)
    local = Place(
        f"{_LOCAL} has",
        url_name=URL,
        key_name=KEY,
        url=stored.get(URL, ""),
        key=stored.get(KEY, ""),
        hint="`make run` here writes both",
    )
    for place in (options, environment, local):
        if place.url.strip() or place.key.strip():
            target = _target(place, wrong=OptionError if place is options else CommandError)
            if place is not options:
                source = place.has.removesuffix(" has")
                print_line(f"Stack {target.url}, named by {source}", err=True)
            return target
    raise CommandError(
        f"No stack is named: give --url and --key-file, set {URL} and {KEY}, or run `make run`"
        " here."
    )


def _target(place: Place, *, wrong: type[CommandError]) -> Target:
    """Return a place's target; raise `wrong` where it names only half of one, or no URL or key."""
    url, key = place.url.strip().rstrip("/"), place.key.strip()
    if not (url and key):
        given, missing = (
            (place.url_name, place.key_name) if url else (place.key_name, place.url_name)
        )
        raise wrong(
            f"{missing} is missing: {place.has} only {given}, and URL and key must"
            f" come from the same place; {place.hint}."
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https", "wss"} and parts.hostname
    except ValueError:
        valid = None
    if not valid:
        raise wrong(f"{place.url_name} must be a URL such as https://api.example.com.")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise wrong(f"{place.key_name} must hold one API key and nothing else.")
    return Target(url, key)


def _read_key(file: Path) -> str:
    try:
        key = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--key-file {file} cannot be read: {reason(error)}.") from error
    if not key.strip():
        raise OptionError(f"--key-file {file} is empty: it must hold an API key.")
    return key
