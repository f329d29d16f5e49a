"""What the command prints is safe on any terminal, and fits into 80 columns."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from gatehouse_cli import terminal
from gatehouse_cli.errors import CommandError
from gatehouse_cli.main import cli


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext", "plain\ttext"),
        ("山田 👩‍💻 é", "山田 👩‍💻 é"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m\x7f\x00\b", "\\x9b31m\\x7f\\x00\\x08"),
        ("a\u202eb\u2066c\u200fd", "a\\u202eb\\u2066c\\u200fd"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\ud800", "\\ud800"),
        ("over\rwritten", "over\\rwritten"),
        ("one\r\ntwo\n", "one\n    two"),
        ("one\n2026-01-01T00:00:00Z  forged\n\n", "one\n    2026-01-01T00:00:00Z  forged"),
        ("", ""),
    ],
)
def test_controls_are_shown_and_no_further_line_looks_like_an_entry(text: str, shown: str) -> None:
    assert terminal.escaped(text) == shown


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_character_that_the_terminal_lacks_is_written_as_its_number(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))

    terminal.accept_every_character()
    terminal.print_line("ok ✓ ж")
    terminal.print_line("\x1b[1m✓", raw=True)

    assert stream.getvalue() == b"ok \\u2713 \\u0436\n\x1b[1m\\u2713\n"


def test_the_whole_command_accepts_every_character_on_both_streams() -> None:
    @click.command()
    def greet() -> None:
        terminal.print_line("grüße ✓")
        raise CommandError("fehler ✗ \x1b[31m")

    cli.add_command(greet, "greet-test")
    try:
        result = CliRunner(charset="ascii").invoke(cli, ["greet-test"])
    finally:
        del cli.commands["greet-test"]

    assert (result.exit_code, result.stdout) == (1, "gr\\xfc\\xdfe \\u2713\n")
    assert "\x1b" not in result.stderr


def run_in_terminal(code: str) -> bytes:
    """Run Python code with a terminal as its standard output, and return what came out."""
    main, side = pty.openpty()
    with os.fdopen(main, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=side,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        os.close(side)
        shown = b""
        try:
            while part := screen.read(4_096):
                shown += part
        except OSError:  # Linux reports the end of a terminal so
            pass
        assert process.wait(30) == 0
    return shown


LOG = """
import sys
from gatehouse_cli import logs, main
from gatehouse_cli.target import Target
logs.get_target = lambda *_: Target("http://a", "k")
logs.follow = lambda *_, **__: (x for x in [{"id": "1", "timestamp": "T", "message": "\\x1b[2Jx"}])
main.cli(["logs", "orders", "--raw"])
"""


def test_a_terminal_gets_no_escape_sequence_even_with_raw() -> None:
    assert run_in_terminal(LOG).strip() == b"T  \\x1b[2Jx"


def test_raw_passes_escape_sequences_into_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_URL", "http://a.example")
    monkeypatch.setenv("GATEHOUSE_API_KEY", "k")
    line = {"id": "1", "timestamp": "T", "message": "\x1b[2J\x7fx"}
    monkeypatch.setattr("gatehouse_cli.logs.follow", lambda *_, **__: (one for one in [line]))

    printed = {
        words: CliRunner().invoke(cli, ["logs", "orders", *words]).stdout
        for words in ((), ("--raw",), ("--json",))
    }

    assert printed[()] == "T  \\x1b[2J\\x7fx\n"
    assert printed["--raw",] == "T  \x1b[2J\x7fx\n"
    assert json.loads(printed["--json",]) == line
    assert not set("\x1b\x7f") & set(printed["--json",])


def every_command(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)


def test_every_help_page_fits_into_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in ((), *every_command(cli)):
        page = CliRunner().invoke(cli, [*words, "--help"], prog_name="gatehouse").output
        assert max(map(len, page.splitlines())) <= 80, page
        assert "..." not in page.partition("Commands:")[2], page
