"""The one error that a user of the command sees."""

import click


class CommandError(click.ClickException):
    """One sentence: what was wrong, where, and what to do. Exit code 1."""
