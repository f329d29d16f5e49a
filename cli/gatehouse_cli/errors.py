"""The one error that a user of the command sees."""

import click


class CommandError(click.ClickException):
    """What is wrong and what to do about it, in one sentence. Exit code 1."""
