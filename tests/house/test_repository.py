"""The repository's files: no secrets, no paths of a machine, no download addresses, true docs."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click

from gatehouse.web import reference
from gatehouse_cli.main import cli
from house import sources
from house.sources import ROOT
from house.test_layout import tracked

FILES = [path for path in tracked() if path.suffix not in {".png", ".ico", ".woff2"}]
DOCS = tracked("*.md")

# Brackets keep these patterns from finding themselves.
FORBIDDEN = {
    "an AWS access key": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----",
    "a key of Gatehouse": r"\b(hb|hk|chorus)_[0-9a-f]{72}\b",
    "a token of a code host": r"\b(gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20})",
    "a webhook secret": r"\bwhsec_[A-Za-z0-9+/]{24}",
    "a home folder": r"(?<![\w.$}])/(home|Users)/[a-z]|(?<![\w.])/ro[o]t/|[A-Z]:\\\\Users",
    "this machine's folders": r"(?<![\w./])/(work|workspace|mnt|srv)/[a-z]",
    "a package index": (
        r"pypi[.]org|pythonhosted[.]org|npmjs[.](org|com)|crates[.]io|rubygems[.]org"
        r"|--(extra-)?index-u[r]l|simple[/]index"
    ),
    "an image registry": r"docker[.]io|ghcr[.]io|quay[.]io|public[.]ecr",
}


def test_no_file_holds_a_secret_a_machine_s_path_or_a_download_address() -> None:
    patterns = {what: re.compile(pattern) for what, pattern in FORBIDDEN.items()}
    found = []
    for path in FILES:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for what, pattern in patterns.items():
            found += [
                f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1} {what}"
                for match in pattern.finditer(text)
            ]

    assert not found


def test_every_pinned_package_has_its_hashes() -> None:
    for lock in tracked("*.lock"):
        requirements = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text().strip())

        assert requirements, lock
        bare = [one for one in requirements if "==" not in one or "--hash=sha256:" not in one]
        assert bare == [], lock


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == reference.VERSION


def test_the_changelog_knows_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()

    assert re.search(rf"^## .*({re.escape(reference.VERSION)}|Unreleased)", text, re.MULTILINE)


def test_the_layer_keeps_botocore_s_data_of_what_we_call_and_of_nothing_else() -> None:
    kept = runpy.run_path(str(ROOT / "layers" / "deps" / "trim.py"))["SERVICES"]
    called = {
        node.args[0].value
        for module in sources.everything()
        for node in module.nodes
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"make", "_control_plane", "clients.make"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }

    assert kept == called


# ---- Documents ---------------------------------------------------------------------------------


def targets() -> set[str]:
    """List the targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(document: Path) -> list[str]:
    """List the commands in a document: lines of shell blocks, and code within a line."""
    text = document.read_text()
    blocks = re.findall(r"^```(?:sh|bash|console|shell)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return lines + re.findall(r"`([^`\n]+)`", prose)


def words(command: str) -> list[str]:
    """Split a command, its comment left out."""
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return []


def test_documents_name_only_targets_that_exist() -> None:
    unknown = {}
    for document in DOCS:
        asked = {
            word
            for command in commands(document)
            for word in words(command)[1:]
            if words(command)[0] == "make" and re.fullmatch(r"[a-z][a-z-]*", word)
        }
        if asked - targets():
            unknown[document.name] = asked - targets()

    assert not unknown


def test_documents_name_only_commands_that_exist() -> None:
    for document in DOCS:
        for command in commands(document):
            first, *rest = words(command) or [""]
            if Path(first).name == "gatehouse":
                check(cli, rest, f"{document.relative_to(ROOT)}: {command}")


def check(entry: click.Command, rest: list[str], command: str) -> None:
    """Follow a command line through the groups; each name and option must exist."""
    known = {"--help", "-h", "--version"}
    for word in rest:
        if isinstance(entry, click.Group) and not word.startswith("-"):
            assert word in entry.commands, command
            entry = entry.commands[word]
        elif word.startswith("-") and word != "-":  # a dash alone is standard input or output
            known |= {option for parameter in entry.params for option in parameter.opts}
            assert word.partition("=")[0] in known, command


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_links_within_the_repository_lead_somewhere() -> None:
    dead = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in DOCS
        for link in LINK.findall(document.read_text())
        if "://" not in link
        and not link.startswith("mailto:")
        and not (document.parent / link).exists()
    ]

    assert not dead


def test_a_reader_finds_the_usual_pages() -> None:
    names = ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")

    assert not [name for name in names if not (ROOT / f"{name}.md").read_text().startswith("# ")]


def test_every_decision_says_why_and_how_to_undo_it() -> None:
    for page in (ROOT / "docs" / "decisions").glob("[0-9]*.md"):
        text = page.read_text()

        assert re.match(rf"# {page.name[:4]} \S", text), page
        assert [
            part for part in ("Context", "Choice", "Alternatives", "Undo") if part not in text
        ] == []


def test_the_list_of_decisions_has_every_page_in_order() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(page.name for page in folder.glob("[0-9]*.md"))
    numbers = [page[:4] for page in pages]

    listing = (folder / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\(([^)]+)\) \|", listing, re.MULTILINE)
    assert rows == list(zip(numbers, pages, strict=True))
    assert len(numbers) == len(set(numbers))
