"""The AWS account and region of a command, chosen in one place for all commands."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import click

from gatehouse_cli import samconfig
from gatehouse_cli.errors import CommandError, OptionError
from gatehouse_cli.project import find_project
from gatehouse_cli.samconfig import Place
from gatehouse_cli.stack_functions import readable_errors

DEFAULT_PLACE = "dev"

place_option = click.option(
    "--place",
    default=DEFAULT_PLACE,
    show_default=True,
    help="Parameter set in samconfig.toml.",
)


def stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a deployed stack, `place` and `stack`; see `find_stack`."""
    place = click.option(
        "--place", help=f"The stack of this place in samconfig.toml. Default: {DEFAULT_PLACE}."
    )
    stack = click.option("--stack", help="The name of the CloudFormation stack instead.")
    return place(stack(command))


def find_stack(place: str | None, stack: str | None) -> Place:
    """Return the place that the options of `stack_options` name.

    A stack that a place of samconfig.toml has is in that place's region, with its profile.

    Raises:
        OptionError: Both options are given, or samconfig.toml is missing or has no such place.

    """
    if place is not None and stack is not None:
        raise OptionError("Use either --place or --stack.")
    if stack is None:
        try:
            project = find_project(Path.cwd())
        except CommandError as error:
            raise OptionError(f"{error} Elsewhere, name the stack with --stack.") from error
        return samconfig.read(project, place or DEFAULT_PLACE)
    return _place_of(stack) or Place(stack, {})


def open_session(place: Place) -> boto3.Session:
    """Return the AWS session of a place.

    Its region is the first of these: `region` of the place in samconfig.toml, AWS_REGION,
    AWS_DEFAULT_REGION, `region` of the profile.

    Raises:
        CommandError: None of these is set, or the profile does not exist.

    """
    region = place.region or os.environ.get("AWS_REGION") or None
    with readable_errors(place.stack):
        session = boto3.Session(region_name=region, profile_name=place.profile)
    if session.region_name is None:
        raise CommandError(
            "No AWS region is set: set the variable AWS_REGION, or `region` of the place in"
            " samconfig.toml."
        )
    return session


def _place_of(stack: str) -> Place | None:
    """Return the place that deploys a stack of this name to AWS, None if there is not one."""
    try:
        places = samconfig.read_all(find_project(Path.cwd()))
    except CommandError:
        return None
    found = [one for name, one in places.items() if one.stack == stack and name != samconfig.LOCAL]
    return found[0] if len(found) == 1 else None
