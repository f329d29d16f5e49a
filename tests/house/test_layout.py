"""Where files lie, how long they may be, and how functions are called."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from house import sources
from house.sources import FUNCTIONS, PACKAGE, ROOT, Module

LONGEST = 350
LONGEST_TEST = 600
# What a function works with rather than on; they come first, the moment may come last.
COLLABORATORS = {"self", "cls", "table", "tables", "client", "call", "vault", "memory", "now"}
# The contract of model.md: evaluate(action, subject, resource).
AS_DOCUMENTED = {"gatehouse.policy.rules"}


def tracked(*patterns: str) -> list[Path]:
    """List the files that a commit would hold: tracked ones, and new ones not ignored."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("folder", sorted(FUNCTIONS.iterdir()), ids=lambda path: path.name)
def test_a_function_s_folder_has_one_file(folder: Path) -> None:
    handler = "handler.js" if folder.name in sources.AT_THE_EDGE else "handler.py"

    assert [path.name for path in folder.iterdir() if path.name != "__pycache__"] == [handler]


def test_package_files_are_empty() -> None:
    assert [path for path in PACKAGE.rglob("__init__.py") if path.read_text()] == []


def test_every_room_is_a_package() -> None:
    rooms = {path.parent for path in PACKAGE.glob("*/*.py")}

    assert [room.name for room in rooms if not (room / "__init__.py").is_file()] == []


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked("*.py")
        if (lines := len(path.read_text().splitlines()))
        > (LONGEST_TEST if path.is_relative_to(ROOT / "tests") else LONGEST)
    }

    assert long == {}


@pytest.mark.parametrize("path", tracked("*.py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_s_name_says_what_it_is_about(path: Path) -> None:
    assert not {"utils", "helpers", "common", "manager", "misc"} & {path.stem, path.parent.name}


@pytest.mark.parametrize("module", sources.rooms(), ids=str)
def test_arguments_after_the_first_two_are_given_by_name(module: Module) -> None:
    if module.name in AS_DOCUMENTED:
        pytest.skip("its signature is documented")
    long = {}
    for function in sources.defined(module):
        given = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        worked_on = [name for name in given if name not in COLLABORATORS]
        if len(worked_on) > 2 and not function.name.startswith("_"):
            long[function.name] = worked_on

    assert long == {}
