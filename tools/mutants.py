"""Check the tests: change the code in small ways, one at a time, and see whether a test fails.

`make mutants` changes a sample of 200 places; SAMPLE=all changes every one. MODULES=outbound,keys
takes only files whose path contains one of these texts. SEED picks another sample, JOBS is the
number of processes, BUDGET the seconds of tests that a mutant has to survive (the tests nearest to
the changed line come first), THRESHOLD the percentage that must be killed. tools/mutants.toml
names the files, the tests, and the survivors that are accepted.

A first run measures which tests execute which line, file by file. It keeps that in
`.gatehouse/mutants`, and measures a test file again only after it has changed.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import time
import tomllib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutations
from covering import Covering, Measured, Test
from forks import Result, Run, Task, work

ROOT = Path(os.environ.get("GATEHOUSE_MUTANTS_ROOT", Path(__file__).resolve().parents[1]))
SETTINGS = "tools/mutants.toml"
# Tests this near to a mutant kill most of them: they run first, in a process of their own.
NEAR_SECONDS = 4.0


@dataclass(frozen=True)
class Options:
    """What the environment asks for."""

    sample: int | None
    seed: int
    modules: tuple[str, ...]
    jobs: int
    budget: float
    threshold: float

    @classmethod
    def read(cls, settings: dict[str, Any]) -> Options:
        """Read the environment; what it leaves out has a default."""
        env = os.environ
        sample = env.get("SAMPLE") or "200"
        return cls(
            sample=None if sample == "all" else int(sample),
            seed=int(env.get("SEED") or 1),
            modules=tuple(text for text in env.get("MODULES", "").split(",") if text),
            jobs=int(env.get("JOBS") or os.cpu_count() or 1),
            budget=float(env.get("BUDGET") or 60),
            threshold=float(env.get("THRESHOLD") or settings["threshold"]),
        )


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `survived`, `not covered`, or killed by a test or the time limit."""

    mutant: mutations.Mutant
    killed: bool
    how: str


def main() -> int:
    """Run, report, and return the exit code."""
    settings = tomllib.loads((ROOT / SETTINGS).read_text())
    options = Options.read(settings)
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # after the processes of tests
    _preload(settings["preload"])
    chosen, accepted, stale = _choose(settings, options)
    covering = Covering(ROOT / ".gatehouse/mutants", _files(settings["modules"]))
    covering.load(_measure(covering, _files(settings["tests"]), options.jobs))

    verdicts: list[Verdict] = []
    started = time.monotonic()
    for verdict in work((_examine(one, covering, options.budget) for one in chosen), options.jobs):
        verdicts.append(verdict)
        print(_line(verdict), flush=True)
        if len(verdicts) % 50 == 0:
            print(f"    {len(verdicts)} of {len(chosen)}", flush=True)
    for one in stale:
        print(f"accepted, but there is no such mutant: {one['file']} {one['scope']}: {one['was']}")
    rate = _report(verdicts, accepted=accepted, seconds=time.monotonic() - started)
    return 0 if rate >= options.threshold and not stale else 1


def _files(patterns: list[str]) -> list[str]:
    found = {str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if not path.endswith("__init__.py"))


def _preload(names: list[str]) -> None:
    for name in names:
        importlib.import_module(name)


def _choose(
    settings: dict[str, Any], options: Options
) -> tuple[list[mutations.Mutant], int, list[dict[str, str]]]:
    """List the mutants to run, count the accepted ones among all, list outdated acceptances."""
    reasons = {_key(one): one for one in settings.get("accepted", [])}
    wanted, seen = [], set()
    for path in _files(settings["modules"]):
        if options.modules and not any(text in path for text in options.modules):
            continue
        for mutant in mutations.mutants(path, (ROOT / path).read_text()):
            key = (path, mutant.scope, mutant.was, mutant.now)
            if key in reasons:
                seen.add(key)
            else:
                wanted.append(mutant)
    checked = {path for path, *_ in reasons} if not options.modules else set()
    stale = [one for key, one in reasons.items() if key[0] in checked and key not in seen]
    if options.sample is not None and options.sample < len(wanted):
        places = sorted(random.Random(options.seed).sample(range(len(wanted)), options.sample))  # noqa: S311
        wanted = [wanted[place] for place in places]
    return wanted, len(seen), stale


def _key(accepted: dict[str, str]) -> tuple[str, str, str, str]:
    if not accepted.get("reason"):
        raise SystemExit(f"{SETTINGS}: an accepted mutant of {accepted['file']} has no reason.")
    return accepted["file"], accepted["scope"], accepted["was"], accepted["now"]


def _measure(covering: Covering, files: list[str], jobs: int) -> Iterator[tuple[str, Measured]]:
    """Run each test file whose measure is not kept, without a mutant, and watch its lines."""
    kept = {path: covering.kept(path) for path in files}
    missing = [path for path, measured in kept.items() if measured is None]
    if missing:
        print(f"Measuring which lines {len(missing)} test files execute.", flush=True)

    def measure(path: str) -> Task[None]:
        result = yield Run(files=(path,), targets=covering.targets)
        if result.status == "passed":
            kept[path] = covering.keep(path, result)
        else:
            print(f"{path} is left out, since it fails without a mutant: {result.failed}")

    list(work((measure(path) for path in missing), jobs))
    yield from ((path, measured) for path, measured in kept.items() if measured is not None)


def _examine(mutant: mutations.Mutant, covering: Covering, budget: float) -> Task[Verdict]:
    tests = covering.tests(mutant, budget)
    if not tests:
        return Verdict(mutant, killed=False, how="not covered")
    for stage in _stages(tests):
        result = yield from _run(stage, mutant)
        if result.status == "timeout":
            return Verdict(mutant, killed=True, how="the time limit")
        if result.status != "passed":
            if not (yield from _is_proof(covering, result.failed)):
                return (yield from _examine(mutant, covering, budget))
            return Verdict(mutant, killed=True, how=result.failed or "an import that fails")
    return Verdict(mutant, killed=False, how="survived")


def _stages(tests: list[Test]) -> Iterator[list[Test]]:
    """Split tests into near and other ones, at a boundary of files."""
    seconds, near = 0.0, 0
    while near < len(tests) and (
        seconds < NEAR_SECONDS or tests[near].file == tests[near - 1].file
    ):
        seconds += tests[near].seconds
        near += 1
    yield tests[:near]
    if near < len(tests):
        yield tests[near:]


def _run(tests: list[Test], mutant: mutations.Mutant | None) -> Generator[Run, Result, Result]:
    files = tuple(dict.fromkeys(test.file for test in tests))
    result = yield Run(
        files=files,
        tests=frozenset(test.id for test in tests),
        mutant=mutant,
        limit=30 + 6 * sum(test.seconds for test in tests),
    )
    return result


def _is_proof(covering: Covering, test_id: str | None) -> Generator[Run, Result, bool]:
    """Return whether a test fails because of the mutant, and not because others were left out.

    A test that fails alone without a mutant needs the tests before it: from then on its file is
    always run whole.
    """
    test = covering.test(test_id)
    if test is None or covering.runs_whole(test.file) or test.id in covering.independent:
        return True
    result = yield from _run([test], None)
    if result.status == "passed":
        covering.independent.add(test.id)
        return True
    covering.run_whole(test.file)
    return False


def _line(verdict: Verdict) -> str:
    mutant = verdict.mutant
    change = f"{mutant.place} {mutant.scope}: {mutant.was}  ->  {mutant.now}"
    if verdict.killed:
        return f"killed    {change}  ({verdict.how})"
    return f"{verdict.how.upper():9} {change}"


def _report(verdicts: list[Verdict], *, accepted: int, seconds: float) -> float:
    """Print survivors and a line for each file; return the percentage killed."""
    by_file: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_file.setdefault(verdict.mutant.path, []).append(verdict)
    print("\nfile: killed of all")
    for path, those in sorted(by_file.items()):
        print(f"  {path}: {sum(one.killed for one in those)} of {len(those)}")
    survivors = [one for one in verdicts if not one.killed]
    if survivors:
        print("\nSurvivors:")
    for one in sorted(survivors, key=lambda one: (one.mutant.path, one.mutant.lines.start)):
        print(f"  {_line(one)}")
    rate = 100 * (1 - len(survivors) / len(verdicts)) if verdicts else 100.0
    print(
        f"\n{rate:.1f} % killed: {len(verdicts) - len(survivors)} of {len(verdicts)} mutants in"
        f" {seconds:.0f} s; {accepted} accepted ones were not run."
    )
    return rate


if __name__ == "__main__":
    sys.exit(main())
