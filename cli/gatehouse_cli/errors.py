"""The one error that a user of the command sees."""

import click

from gatehouse_cli.terminal import escaped


class CommandError(click.ClickException):
    """One sentence: what was wrong, where, and what to do. Exit code 1."""

    def format_message(self) -> str:
        """Return the sentence for a terminal: parts of it may come from a server or a file."""
        return escaped(self.message)


def reason(error: Exception) -> str:
    """Return why a file cannot be used, without its name, which the sentence has already."""
    return getattr(error, "strerror", None) or str(error)


class OptionError(CommandError):
    """An option or an argument is wrong: exit code 2, as for the errors that click finds."""

    exit_code = 2
