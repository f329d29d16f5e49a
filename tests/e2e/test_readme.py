"""Each command of the README and of docs/ that a reader would paste, run against the stack.

The commands that restart a function run in test_alone.
"""

from __future__ import annotations

import shutil

import pytest

from support.checks.pasted_commands import check_command, commands
from support.worlds.deployed_stack import Deployed


def test_the_pages_have_commands_to_run() -> None:
    assert len(commands()) >= 7


@pytest.mark.skipif(shutil.which("curl") is None, reason="the machine has no curl")
@pytest.mark.parametrize(
    ("page", "command"),
    [(page, command) for page, command in commands() if "/restart" not in command],
)
def test_a_pasted_command_works(stack: Deployed, page: str, command: str) -> None:
    check_command(stack, page, command)
