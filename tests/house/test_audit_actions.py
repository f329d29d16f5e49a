"""docs/audit.md lists every audit action and every actor that the code can write, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from house import sources
from house.sources import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text()
# What a formatted part of an action or an actor can be, by its source text.
PARTS = {"wanted.kind": ("ring", "role")}
# Actors that name one identity or peer are documented with a placeholder.
PLACEHOLDER = "<id>"


def _calls(name: str) -> Iterator[ast.Call]:
    """Find the calls of a class, `Change(...)` or `audit.Change(...)`."""
    for module in sources.everything():
        for node in module.nodes:
            if isinstance(node, ast.Call):
                called = node.func
                if name in {getattr(called, "id", None), getattr(called, "attr", None)}:
                    yield node


def _texts(node: ast.expr, *, otherwise: str | None = None) -> set[str]:
    """Return every text that an expression can be.

    `otherwise` stands for formatted parts that PARTS does not have; without it they are a failure,
    as is any other expression: then this test does not know what the code writes.
    """
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.IfExp):
        return _texts(node.body, otherwise=otherwise) | _texts(node.orelse, otherwise=otherwise)
    if isinstance(node, ast.JoinedStr):
        texts = {""}
        for part in node.values:
            source = ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""
            choices: tuple[str, ...] = PARTS.get(source, (otherwise,) if otherwise else ())
            if isinstance(part, ast.Constant):
                choices = (str(part.value),)
            assert choices, f"cannot tell what {source} is in {ast.unparse(node)}"
            texts = {text + choice for text in texts for choice in choices}
        return texts
    raise AssertionError(f"cannot tell what {ast.unparse(node)} is")


def _listed(heading: str) -> list[str]:
    """Return the first column of the table under a heading of the page."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def _differences(written: set[str], listed: list[str]) -> list[str]:
    missing = [f"{name} is not on the page" for name in sorted(written - set(listed))]
    unknown = [f"{name} is written by no code" for name in sorted(set(listed) - written)]
    repeated = [f"{name} is listed twice" for name in sorted(set(listed)) if listed.count(name) > 1]
    return [*missing, *unknown, *repeated]


def test_the_page_lists_every_action_that_the_code_writes_and_no_other() -> None:
    written: set[str] = set()
    for call in _calls("Change"):
        written |= _texts(call.args[0])

    assert not _differences(written, _listed("Actions"))


def test_the_page_lists_every_actor_that_the_code_writes_and_no_other() -> None:
    written: set[str] = set()
    # `Origin.of` makes itself by `cls(...)`, as other classes do too.
    for call in (*_calls("Origin"), *_calls("cls")):
        for keyword in call.keywords:
            if keyword.arg == "actor":
                written |= _texts(keyword.value, otherwise=PLACEHOLDER)

    assert not _differences(written, _listed("Actors"))
