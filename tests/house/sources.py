"""The modules of the package: what each of them imports, and which part of a room it is."""

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
# Functions that run in CloudFront and not in Lambda: JavaScript, as text in the template.
AT_THE_EDGE = frozenset({"front_door"})
# Serves files: its routes are in the template alone, and it may ask AWS for nothing.
WITHOUT_DOOR = frozenset({"page"})
# The packages below the rooms; every other folder of the package is a room.
FOUNDATION = frozenset({"core", "dynamo", "aws", "outbound", "web"})


@dataclass(frozen=True, slots=True)
class Module:
    """One source file. `room` is the package's folder, None for a function."""

    name: str  # gatehouse.keys.actions, or functions.keys
    path: Path
    room: str | None
    part: str

    @property
    def tree(self) -> ast.Module:
        return _tree(self.path)

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the file, in the order of `ast.walk`."""
        return _nodes(self.path)

    def imports(self) -> frozenset[str]:
        """Return every module that is imported anywhere in the file, also for types only."""
        return _imports(self.path, loaded=False)

    def __str__(self) -> str:
        return self.name


def foundation() -> list[Module]:
    """List the modules of the packages below the rooms."""
    return [module for module in _package() if module.room in FOUNDATION]


def rooms() -> list[Module]:
    """List the modules of all rooms."""
    return [module for module in _package() if module.room not in FOUNDATION]


@cache
def _package() -> list[Module]:
    return [
        Module(_dotted(path), path, path.relative_to(PACKAGE).parts[0], _part(path))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.stem != "__init__"
    ]


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _part(path: Path) -> str:
    """Return which part of its room a file is, by its name."""
    if path.parent.name == "adapters":
        return "adapter"
    for part in ("model", "rules", "store", "writes"):
        if path.stem == part or path.stem.endswith(f"_{part}"):
            return part
    return "actions"


def functions() -> list[Module]:
    """List the handlers, under their folders' names."""
    return [
        Module(f"functions.{path.parent.name}", path, None, "handler")
        for path in sorted(FUNCTIONS.glob("*/handler.py"))
    ]


def lambdas() -> frozenset[str]:
    """Return the folders of Lambda functions."""
    folders = {path.name for path in FUNCTIONS.iterdir() if path.is_dir()}
    return frozenset(folders - AT_THE_EDGE)


def everything() -> list[Module]:
    """List what runs in Lambda."""
    return [*_package(), *functions()]


@cache
def by_name() -> dict[str, Module]:
    """Return all modules by their dotted names."""
    return {module.name: module for module in everything()}


def reached(module: Module) -> frozenset[str]:
    """Return every module that an import of this one loads, ours and third-party ones.

    Imports for types only are not counted.
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
    """Return the third-party package of a module; None for ours and the standard library."""
    top = name.partition(".")[0]
    return None if top in sys.stdlib_module_names or top == "gatehouse" else top


def defined(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the functions and methods of a module."""
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path.name)


@cache
def _nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_tree(path)))


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
    """Return the module of an imported name: `origin.name` if that is one, else `origin`."""
    below = PACKAGE.parent / origin.replace(".", "/") / name
    if origin.startswith("gatehouse") and (below.is_dir() or below.with_suffix(".py").is_file()):
        return f"{origin}.{name}"
    return origin
