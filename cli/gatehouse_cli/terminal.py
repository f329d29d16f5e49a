"""Print text of others so that no terminal obeys it, and no encoding ends the command."""

import sys
import unicodedata

import click

# Invisible characters that change the order or the lines of what is shown around them.
_REORDERING = frozenset(
    map(chr, (0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)


def escaped(text: str) -> str:
    r"""Return text with each control character but tab and newline written as \x1b or \u202e.

    A further line is indented, so that no part of a text looks like an entry of its own.
    """
    lines = text.rstrip("\r\n").split("\n")
    return "\n    ".join("".join(map(_escaped, line.removesuffix("\r"))) for line in lines)


def print_line(text: str, *, err: bool = False, raw: bool = False) -> None:
    """Print a line, escaped unless `raw`. Raises OSError, for example BrokenPipeError."""
    stream = sys.stderr if err else sys.stdout
    # click would strip color codes from what goes into a pipe: `raw` means as it is.
    click.echo(text if raw else escaped(text), file=stream, color=True)


def accept_every_character() -> None:
    r"""Let both output streams write what their encoding lacks as \xe4, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _escaped(character: str) -> str:
    if character == "\t" or not (
        unicodedata.category(character) in {"Cc", "Cs"} or character in _REORDERING
    ):
        return character
    return character.encode("unicode_escape").decode("ascii")
