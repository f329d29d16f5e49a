"""The package as its imports tell it: modules, what each imports, and which part it is."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "layers" / "gatehouse" / "python" / "gatehouse"
FUNCTIONS = ROOT / "functions"
# Functions that run in CloudFront and not in Lambda: JavaScript, which the template holds as text.
AT_THE_EDGE = frozenset({"front_door"})
PARTS = frozenset({"model", "rules", "store", "actions"})
# A file beside the four, and which of them it counts as: "actions" or "store" where one file would
# be too long, "vendor" for the one home of a library that only this room knows, "model" for a
# published format, pure like any model and open to other rooms.
FURTHER = {
    "deliveries.fanning": "actions",
    "deliveries.sending": "actions",
    "deliveries.sweeping": "actions",
    "deliveries.waking": "actions",
    "deliveries.working": "actions",
    "keys.following": "actions",
    "keys.writing": "actions",
    "logs.filters": "actions",
    "logs.reading": "actions",
    "logs.relaying": "actions",
    "logs.sockets": "vendor",
    "logs.sweeping": "actions",
    "logs.watches": "store",
    "secrets.keyring": "actions",
    "secrets.rewrapping": "actions",
    "seeding.document": "vendor",
    "seeding.running": "actions",
    "seeding.webhooks": "actions",
    "wallets.signature": "vendor",
    "webhooks.deciding": "actions",
    "webhooks.keeping": "actions",
    "services.checking": "actions",
    "services.containers": "vendor",
    "services.environment": "vendor",
    "services.finding": "actions",
    "services.judging": "rules",
    "services.lambdas": "vendor",
    "services.measured": "vendor",
    "services.restarting": "actions",
    "services.tagged": "vendor",
    "webhooks.outcomes": "actions",
    "webhooks.opened": "actions",
    "webhooks.signing": "model",
}


@dataclass(frozen=True, slots=True)
class Module:
    """One source file. `room` is None in the kernel and in functions."""

    name: str  # gatehouse.keys.actions, or functions.keys
    path: Path
    room: str | None
    part: str

    @property
    def tree(self) -> ast.Module:
        return _tree(self.path)

    def imports(self) -> frozenset[str]:
        """Name every module imported, at any depth, for types only or not."""
        return _imports(self.path, loaded=False)

    def __str__(self) -> str:
        return self.name


def kernel() -> list[Module]:
    """List the modules beside the rooms."""
    return [
        Module(f"gatehouse.{path.stem}", path, None, path.stem)
        for path in sorted(PACKAGE.glob("*.py"))
        if path.stem != "__init__"
    ]


def rooms() -> list[Module]:
    """List the modules of all rooms."""
    return [
        Module(f"gatehouse.{path.parent.name}.{path.stem}", path, path.parent.name, _part(path))
        for path in sorted(PACKAGE.glob("*/*.py"))
        if path.stem != "__init__"
    ]


def _part(path: Path) -> str:
    return FURTHER.get(f"{path.parent.name}.{path.stem}", path.stem)


def functions() -> list[Module]:
    """List the handlers, under their folders' names."""
    return [
        Module(f"functions.{path.parent.name}", path, None, "handler")
        for path in sorted(FUNCTIONS.glob("*/handler.py"))
    ]


def lambdas() -> frozenset[str]:
    """Name the folders that are Lambda functions."""
    folders = {path.name for path in FUNCTIONS.iterdir() if path.is_dir()}
    return frozenset(folders - AT_THE_EDGE)


def everything() -> list[Module]:
    """List what runs in Lambda."""
    return [*kernel(), *rooms(), *functions()]


def by_name() -> dict[str, Module]:
    """Find modules by their dotted names."""
    return {module.name: module for module in everything()}


def reached(module: Module) -> frozenset[str]:
    """Name every module that importing this one loads, ours and the vendors' alike.

    What is imported for types only is not loaded.
    """
    known = by_name()
    found: set[str] = set()
    ahead = [module]
    while ahead:
        for name in _imports(ahead.pop().path, loaded=True):
            if name not in found:
                found.add(name)
                if name in known:
                    ahead.append(known[name])
    return frozenset(found)


def vendor(name: str) -> str | None:
    """Name the third-party package of a module; None for ours and the standard library's."""
    top = name.partition(".")[0]
    return None if top in sys.stdlib_module_names or top == "gatehouse" else top


def defined(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Walk a module's functions and methods."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path.name)


@cache
def _imports(path: Path, *, loaded: bool) -> frozenset[str]:
    found: set[str] = set()
    for node in _statements(_tree(path), loaded=loaded):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            found |= {_imported(origin, alias.name) for alias in node.names}
    return frozenset(found)


def _statements(node: ast.AST, *, loaded: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        types_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not (loaded and types_only):
            yield child
            yield from _statements(child, loaded=loaded)


def _imported(origin: str, name: str) -> str:
    """Tell `from gatehouse.keys import actions`, a module, from a name out of a module."""
    below = PACKAGE.parent / origin.replace(".", "/") / name
    if origin.startswith("gatehouse") and (below.is_dir() or below.with_suffix(".py").is_file()):
        return f"{origin}.{name}"
    return origin
