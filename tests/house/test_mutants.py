"""The tool behind `make mutants`: the changes that it makes, and what it reports about them."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools"))

from mutations import Mutant, mutants  # noqa: E402 - the folder of scripts is not a package


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.was, mutant.now) for mutant in mutants("file.py", source)}


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("a < b", {"a <= b"}),
        ("a >= b", {"a > b"}),
        ("a == b", {"a != b"}),
        ("a is b", {"a is not b"}),
        ("a in b", {"a not in b"}),
        ("a < b < c", {"a <= b < c", "a < b <= c"}),
        ("a + b", {"a - b"}),
        ("a // b", {"a * b"}),
        ("a and b", {"a or b", "a", "b"}),
        ("a and b and c", {"a or b or c", "b and c", "a and c", "a and b"}),
        ("not a", {"a"}),
        ("min(a, b)", {"max(a, b)"}),
        ("any(a)", {"all(a)"}),
        ("8", {"9", "7"}),
        ("True", {"False"}),
        ("'text'", {"'text~'"}),
        ("b'raw'", {"b'raw~'"}),
    ],
)
def test_an_expression_is_changed(was: str, now: set[str]) -> None:
    assert changes(f"x = {was}") == {(f"x = {was}", f"x = {one}") for one in now}


@pytest.mark.parametrize(
    ("statement", "now"),
    [
        ("raise Wrong('text')", {"pass"}),
        ("call(a)", {"pass"}),
        ("a.b = c", {"pass"}),
        ("a[b] = c", {"pass"}),
        ("a += b", {"pass", "a -= b"} - {"a -= b"}),
        ("return a", {"return None"}),
        ("return None", set()),
        ("return True", {"return False"}),
    ],
)
def test_a_statement_is_deleted_or_returns_something_else(statement: str, now: set[str]) -> None:
    found = mutants("file.py", f"def f():\n    {statement}")

    assert {mutant.now for mutant in found} == now
    assert {mutant.scope for mutant in found} <= {"f"}


def test_a_condition_is_negated() -> None:
    assert changes("if a:\n    b()\n") == {("if a:", "if not a:"), ("b()", "pass")}
    assert ("x = [a for a in b if c]", "x = [a for a in b if not c]") in changes(
        "x = [a for a in b if c]"
    )


@pytest.mark.parametrize(
    "source",
    [
        "'''Docstring.'''",
        "import a",
        "x: int | None",
        "Step = Done | Retry",
        "@dataclass(frozen=True)\nclass A:\n    '''Docstring.'''",
        "if TYPE_CHECKING:\n    import a",
        "__all__ = ['a', 'b']",
        "def f(a: Literal['b']) -> Literal['c']:\n    pass",
        "x = zip(a, b, strict=True)",
        "x = cast('A', b)",
        "x = f'text {a}'",
        "x = 'no rule denies it'",
    ],
)
def test_what_no_test_could_notice_is_not_changed(source: str) -> None:
    assert changes(source) == set()


def test_texts_of_errors_and_log_lines_are_not_changed() -> None:
    source = "def f():\n    raise Wrong('text', 5)\n    logger.info('text')\n"

    assert {now for _, now in changes(source)} == {
        "raise Wrong('text', 6)",
        "raise Wrong('text', 4)",
        "pass",
    }


def test_listing_the_mutants_leaves_the_tree_unchanged_until_code_is_asked_for() -> None:
    source = "x = 1\n"
    first, second = mutants("file.py", source)

    assert ast.unparse(first.tree) == "x = 1"
    assert ast.unparse(second.code()) == "x = 0"


def test_a_mutant_knows_the_lines_of_its_statement() -> None:
    source = "def f():\n    if (\n        a < 1\n    ):\n        return 5\n"
    places = {mutant.now: (mutant.lines.start, mutant.lines.stop) for mutant in all_of(source)}

    assert places["if a <= 1:"] == (2, 5)
    assert places["return 6"] == (5, 6)


def all_of(source: str) -> list[Mutant]:
    return mutants("file.py", source)


def test_each_accepted_survivor_is_a_change_of_the_code_as_it_is() -> None:
    accepted = tomllib.loads((ROOT / "tools/mutants.toml").read_text())["accepted"]
    outdated = []
    for path in sorted({one["file"] for one in accepted}):
        known = {(one.scope, one.was, one.now) for one in mutants(path, (ROOT / path).read_text())}
        mine = [one for one in accepted if one["file"] == path]
        outdated += [one for one in mine if (one["scope"], one["was"], one["now"]) not in known]

    assert outdated == []


MODULE = """
LIMIT = 5


def allowed(number: int) -> bool:
    return number < LIMIT


def untested() -> int:
    return 7


def late() -> int:
    return 3
"""
TESTS = """
from module import allowed, late


seen: list[int] = []


def test_it_allows_small_numbers() -> None:
    seen.append(1)
    assert allowed(0)
    assert not allowed(9)


def test_it_follows_the_first_one() -> None:
    assert seen and late() > 1
"""
SETTINGS = """
modules = ["module.py"]
tests = ["test_*.py"]
threshold = 95
preload = ["pytest"]

[[accepted]]
file = "module.py"
scope = "untested"
was = "return 7"
now = "return None"
reason = "Nobody calls it."

[[accepted]]
file = "module.py"
scope = "untested"
was = "return 9"
now = "return 8"
reason = "The function has changed since."
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/mutants.toml").write_text(SETTINGS)
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "test_module.py").write_text(TESTS)
    # With the options of this repository: the tool must run under them.
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    added = " ".join(options["addopts"])
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = .\naddopts = {added}\n")
    return tmp_path


def run(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/mutants.py")],
        env={**os.environ, "GATEHOUSE_MUTANTS_ROOT": str(project), "JOBS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_survivors_and_outdated_acceptances_are_reported_and_fail_the_run(project: Path) -> None:
    done = run(project, SAMPLE="all")

    assert done.returncode == 1, done.stderr
    assert "killed    module.py:6 allowed: return number < LIMIT  ->  return None" in done.stdout
    # No test stands at the limit itself, none calls the other function, and one is accepted.
    assert "SURVIVED  module.py:6 allowed: return number < LIMIT  ->  return number <= LIMIT" in (
        done.stdout
    )
    assert "NOT COVERED module.py:10 untested: return 7  ->  return 8" in done.stdout
    assert "return 7  ->  return None" not in done.stdout
    # The test of `late` fails without the one before it, which is no proof of anything.
    assert "SURVIVED  module.py:14 late: return 3  ->  return 4" in done.stdout
    assert "killed    module.py:14 late: return 3  ->  return None" in done.stdout
    assert "22.2 % killed: 2 of 9 mutants" in done.stdout
    assert "1 accepted ones were not run" in done.stdout
    assert "accepted, but there is no such mutant: module.py untested: return 9" in done.stdout
