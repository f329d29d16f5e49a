"""Run tests in forked processes, with a mutant in place of one file and a time limit."""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import coverage
import pytest

from mutations import Mutant

# A context of coverage: executed while a fixture of a whole file was set up.
SHARED = "*"
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """One pytest run: `tests` of `files` (None: all), `targets` are the files to be measured."""

    files: tuple[str, ...]
    tests: frozenset[str] | None = None
    mutant: Mutant | None = None
    targets: tuple[str, ...] = ()
    limit: float = 900


@dataclass(frozen=True)
class Result:
    """`status` is `passed`, `failed`, `broken` (no test ran), `crashed` or `timeout`.

    `failed` is the first failed test; of a crash its traceback, of a broken run its output.
    `lines` are, for each target and line, the tests that execute it; `seconds` are by test.
    """

    status: str
    failed: str | None = None
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


T = TypeVar("T")
# A task yields runs, receives their results, and returns what it found.
Task = Generator[Run, Result, T]


def work(tasks: Iterable[Task[T]], jobs: int) -> Iterator[T]:
    """Run tasks, `jobs` at a time, and yield what they return in the order in which they end."""
    waiting = iter(tasks)
    active: list[tuple[Task[T], _Fork]] = []
    try:
        while True:
            while len(active) < jobs and (task := next(waiting, None)) is not None:
                try:
                    active.append((task, _Fork(next(task))))
                except StopIteration as end:
                    yield end.value
            if not active:
                return
            time.sleep(_POLL_SECONDS)
            for entry in list(active):
                task, fork = entry
                result = fork.result()
                if result is None:
                    continue
                active.remove(entry)
                try:
                    active.append((task, _Fork(task.send(result))))
                except StopIteration as end:
                    yield end.value
    finally:
        for _, fork in active:
            fork.stop()


class _Fork:
    """A child process that runs tests."""

    def __init__(self, run: Run) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mutant"))
        self._ends = time.monotonic() + run.limit
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._child(run)

    def result(self) -> Result | None:
        """Return the result, None while the tests run."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            if time.monotonic() < self._ends:
                return None
            self.stop()
            return Result("timeout")
        try:
            if status != 0:
                error = self._folder / "error"
                return Result("crashed", error.read_text() if error.exists() else None)
            result = Result(**json.loads((self._folder / "result").read_text()))
            if result.status == "broken":
                output = (self._folder / "output").read_text(errors="replace")
                return replace(result, failed=output[-2000:])
            return result
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Kill the child and the processes that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _child(self, run: Run) -> None:
        code = 70
        try:
            os.setsid()
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # loading all takes a second
            os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(self._folder / "hypothesis")
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(self._folder / "output", os.O_WRONLY | os.O_CREAT)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            result = _tests(run, self._folder)
            (self._folder / "result").write_text(json.dumps(result))
            code = 0
        except BaseException:  # noqa: BLE001 - the parent reports it
            (self._folder / "error").write_text(traceback.format_exc())
        finally:
            os._exit(code)


def _tests(run: Run, folder: Path) -> dict[str, Any]:
    if run.mutant is not None:
        _put(run.mutant)
    watch = _Watch(run)
    arguments = ["-x", "-q", "--no-header", "--tb=no", "--timeout=0", "--hypothesis-seed=1"]
    # What is imported before the fork stays as it is.
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    # By the names that pyproject.toml has, too: another name would load a plugin twice.
    arguments += ["-p", "no:cacheprovider", "-p", "timeout", "-p", "hypothesispytest"]
    arguments += [f"--basetemp={folder / 'files'}", *run.files]
    code = pytest.main(arguments, plugins=[watch])
    status = {0: "passed", 1: "failed"}.get(int(code), "broken")
    return {
        "status": status,
        "failed": watch.failed,
        "lines": watch.lines(),
        "seconds": watch.seconds,
    }


def _put(mutant: Mutant) -> None:
    """Make the import system compile the mutant instead of reading the file."""
    path = str(Path(mutant.path).resolve())
    code = compile(mutant.code(), path, "exec", dont_inherit=True)
    loader: Any = importlib.machinery.SourceFileLoader
    read = loader.get_code

    def get_code(self: Any, name: str) -> Any:
        return code if os.path.realpath(self.path) == path else read(self, name)

    loader.get_code = get_code


class _Watch:
    """A pytest plugin: selects tests, measures their lines and notes the first failure."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.failed: str | None = None
        self.seconds: dict[str, float] = {}
        self._current = ""
        self._coverage: coverage.Coverage | None = None
        if run.targets:
            self._targets = {str(Path(path).resolve()): path for path in run.targets}
            self._coverage = coverage.Coverage(
                data_file=None, config_file=False, include=list(self._targets)
            )
            self._coverage.start()

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        del config
        wanted = self._run.tests
        if wanted is None:
            return
        # A mutant may change what a test is parametrized with: then its file is run whole.
        known = {item.nodeid for item in items}
        whole = {test.partition("::")[0] for test in wanted - known}
        items[:] = [
            item
            for item in items
            if item.nodeid in wanted or item.nodeid.partition("::")[0] in whole
        ]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._current = item.nodeid
        if self._coverage is not None:
            self._coverage.switch_context(self._current)
        try:
            return (yield)
        finally:
            if self._coverage is not None:
                self._coverage.switch_context("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        shared = self._coverage is not None and fixturedef.scope != "function"
        if shared:
            self._coverage.switch_context(SHARED)
        try:
            return (yield)
        finally:
            if shared:
                self._coverage.switch_context(self._current)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def lines(self) -> dict[str, dict[str, list[str]]]:
        """Return the tests by target and line; the empty context is what imports execute."""
        if self._coverage is None:
            return {}
        self._coverage.stop()
        data = self._coverage.get_data()
        return {
            self._targets[path]: {
                str(line): [context for context in contexts if context]
                for line, contexts in data.contexts_by_lineno(path).items()
                if any(contexts)
            }
            for path in data.measured_files()
            if path in self._targets
        }
