"""Which tests execute which lines, measured file by file and kept."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

from forks import SHARED, Result
from mutations import Mutant


@dataclass(frozen=True)
class Test:
    """A test, its file, and how long it takes."""

    id: str
    file: str
    seconds: float


@dataclass(frozen=True)
class Source:
    """The tests of one file that execute a source, by line and by function.

    A test is its position among the tests of its file. Lines are valid while the source has this
    `digest`; functions are valid after an edit as well.
    """

    digest: str
    lines: dict[str, list[int]]
    functions: dict[str, list[int]]


@dataclass(frozen=True)
class Measured:
    """What the tests of a file execute. `digest` is the test file's, `seconds` are by test."""

    digest: str
    seconds: dict[str, float]
    sources: dict[str, Source]


class Covering:
    """The measures of all test files, kept in a folder."""

    def __init__(self, folder: Path, targets: Iterable[str]) -> None:
        self.targets = tuple(targets)
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, Measured] = {}
        self._whole: set[str] = set()
        self.independent: set[str] = set()  # tests that pass without the others of their file

    def kept(self, test_file: str) -> Measured | None:
        """Return the measure of a test file, None where the file has changed since."""
        path = self._path(test_file)
        if not path.exists():
            return None
        values = json.loads(path.read_text())
        if values["digest"] != _digest(test_file):
            return None
        sources = {name: Source(**one) for name, one in values["sources"].items()}
        return Measured(values["digest"], values["seconds"], sources)

    def keep(self, test_file: str, result: Result) -> Measured:
        """Store what a run of a test file executed."""
        numbers = {test: number for number, test in enumerate(result.seconds)}
        measured = Measured(
            _digest(test_file),
            result.seconds,
            {
                source: _source(source, lines, numbers)
                for source, lines in sorted(result.lines.items())
                if lines
            },
        )
        self._path(test_file).write_text(json.dumps(asdict(measured)))
        return measured

    def load(self, measured: Iterable[tuple[str, Measured]]) -> None:
        """Use these measures, by test file."""
        self._files = dict(measured)

    def test(self, test_id: str | None) -> Test | None:
        """Return a test, None for anything else that pytest reports as failed."""
        file = (test_id or "").partition("::")[0]
        seconds = self._files[file].seconds.get(test_id or "") if file in self._files else None
        return None if test_id is None or seconds is None else Test(test_id, file, seconds)

    def run_whole(self, test_file: str) -> None:
        """Select all tests of a file from now on, or none."""
        self._whole.add(test_file)

    def runs_whole(self, test_file: str) -> bool:
        """Return whether a file's tests depend on each other, so that all of them are selected."""
        return test_file in self._whole

    def tests(self, mutant: Mutant, budget: float) -> list[Test]:
        """List the tests that execute a mutant's lines, the nearest first, within some seconds.

        Near are the files that import the module; then those whose tests are short. A statement
        at module level or in a class body counts as executed by every test of the module.
        """
        chosen: list[Test] = []
        spent = 0.0
        for found in self._near_and_far(mutant):
            for file in sorted(found, key=lambda file: _distance(file, found[file], mutant.path)):
                for test in found[file]:
                    if not chosen or file in self._whole or spent + test.seconds <= budget:
                        chosen.append(test)
                        spent += test.seconds
        return chosen

    def _near_and_far(self, mutant: Mutant) -> tuple[dict[str, list[Test]], ...]:
        near: dict[str, list[Test]] = {}
        far: dict[str, list[Test]] = {}
        for file, measured in self._files.items():
            source = measured.sources.get(mutant.path)
            if source is None:
                continue
            first, others = _executing(source, mutant)
            if file in self._whole and first | others:
                first = set(range(len(measured.seconds)))
            for number, (test_id, seconds) in enumerate(measured.seconds.items()):
                if number in first | others:
                    found = near if number in first else far
                    found.setdefault(file, []).append(Test(test_id, file, seconds))
        return near, far

    def _path(self, test_file: str) -> Path:
        return self._folder / f"{test_file.replace('/', '.')}.json"


def _executing(source: Source, mutant: Mutant) -> tuple[set[int], set[int]]:
    """Return the tests that execute the mutant's lines, and further ones that may depend on it.

    A constant is executed by the functions of its module that use it. Functions of other modules
    may use it as well when its name is public.
    """
    every = {test for tests in source.functions.values() for test in tests}
    if mutant.names:
        users = _users(mutant.path, mutant.names)
        first = {test for user in users for test in source.functions.get(user, ())}
        is_private = all(name.startswith("_") for name in mutant.names)
        return first, set() if is_private and users else every - first
    if mutant.scope not in _functions(mutant.path).values():
        return every, set()
    if source.digest == _digest(mutant.path):
        by_line = {test for line in mutant.lines for test in source.lines.get(str(line), ())}
        if by_line:
            return by_line, set()
    # Also for a default of an argument, which is executed when the module is imported.
    return set(source.functions.get(mutant.scope, ())), set()


@cache
def _users(path: str, names: frozenset[str]) -> set[str]:
    """List the functions that use one of these names, or a constant that is made of one."""
    tree = ast.parse(Path(path).read_text())
    functions = _functions(path)
    found: set[str] = set()
    wanted, known = set(names), -1
    while len(wanted) + len(found) != known:
        known = len(wanted) + len(found)
        for statement in tree.body:
            used = [node for node in ast.walk(statement) if _reads(node, wanted)]
            found |= {functions[node.lineno] for node in used if node.lineno in functions}
            if used and isinstance(statement, ast.Assign | ast.AnnAssign):
                wanted |= {node.id for node in ast.walk(statement) if _writes(node)}
    return found


def _reads(node: ast.AST, names: set[str]) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names


def _writes(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _distance(test_file: str, tests: list[Test], source: str) -> tuple[bool, float]:
    return not _imports(test_file, source), sum(test.seconds for test in tests) / len(tests)


@cache
def _imports(test_file: str, source: str) -> bool:
    package, _, module = _module(source).rpartition(".")
    text = Path(test_file).read_text()
    return f"{package}.{module} " in text or any(
        line.startswith(f"from {package} import") and module in line for line in text.splitlines()
    )


def _module(source: str) -> str:
    return source.removesuffix(".py").rpartition("python/")[2].replace("/", ".")


def _source(path: str, lines: dict[str, list[str]], numbers: dict[str, int]) -> Source:
    every = list(numbers.values())
    whole = {
        line: every if SHARED in tests else sorted(numbers[test] for test in tests)
        for line, tests in lines.items()
    }
    functions: dict[str, set[int]] = {}
    scopes = _functions(path)
    for line, tests in whole.items():
        if scope := scopes.get(int(line)):
            functions.setdefault(scope, set()).update(tests)
    return Source(_digest(path), whole, {name: sorted(tests) for name, tests in functions.items()})


@cache
def _functions(path: str) -> dict[int, str]:
    """Return the innermost function of each line, named as mutants name their scope."""
    found: dict[int, str] = {}

    def visit(node: ast.AST, scope: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            inside = scope
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = (*scope, child.name)
                if not isinstance(child, ast.ClassDef):
                    lines = range(child.lineno, (child.end_lineno or child.lineno) + 1)
                    found.update(dict.fromkeys(lines, ".".join(inside)))
            visit(child, inside)

    visit(ast.parse(Path(path).read_text()), ())
    return found


@cache
def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
