"""Where files lie, how long they may be, and how functions are called."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from house import sources
from house.sources import FUNCTIONS, PACKAGE, ROOT

LONGEST = 350
LONGEST_TEST = 600
# Collaborators of a function, which come first, and the time; they do not count as arguments.
COLLABORATORS = {
    *("self", "cls", "table", "tables", "client", "call", "vault", "sealer", "memory", "now"),
    "relay",
}
# The design prescribes its signature: evaluate(action, subject, resource).
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


def test_a_function_s_folder_holds_its_handler_and_nothing_else() -> None:
    wrong = {}
    for folder in sorted(FUNCTIONS.iterdir()):
        handler = "handler.js" if folder.name in sources.AT_THE_EDGE else "handler.py"
        found = [path.name for path in tracked(f"functions/{folder.name}")]
        if found != [handler]:
            wrong[folder.name] = found

    assert not wrong


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


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "helpers", "common", "manager", "misc"}

    assert not [path for path in tracked("*.py") if empty & {path.stem, path.parent.name}]


def test_arguments_after_the_first_two_are_keyword_only() -> None:
    offenders = {}
    for module in sources.rooms():
        if module.name in AS_DOCUMENTED:
            continue
        for function in sources.defined(module):
            given = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
            positional = [name for name in given if name not in COLLABORATORS]
            if len(positional) > 2 and not function.name.startswith("_"):
                offenders[f"{module}.{function.name}"] = positional

    assert not offenders


def test_a_503_after_the_last_try_is_raised_from_what_the_tries_met() -> None:
    """Otherwise its log line names no cause."""
    offenders = [
        f"{module}:{raised.lineno}"
        for module in sources.everything()
        for function in sources.defined(module)
        if any(_is_retry(node) for node in ast.walk(function))
        for raised in ast.walk(function)
        if isinstance(raised, ast.Raise)
        and raised.exc is not None
        and raised.cause is None
        and ast.unparse(raised.exc).removesuffix("()") == "Unavailable"
    ]

    assert not offenders


def _is_retry(node: ast.AST) -> bool:
    """Return whether a node is a loop over tries that catches an error."""
    return (
        isinstance(node, ast.For)
        and ast.unparse(node.iter).endswith(".tries()")
        and any(isinstance(one, ast.ExceptHandler) for one in ast.walk(node))
    )
