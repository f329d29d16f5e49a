"""Every block of README and docs/ is run by a test, or says what it needs."""

from __future__ import annotations

import re
import subprocess

from support.checks.pasted_commands import NEEDS, PAGES, blocks, pages_to_run

# Data and pictures, and code that tests/house/test_receiving.py runs.
OTHER_LANGUAGES = {"json", "yaml", "mermaid", "text", "js", "go", "ruby"}
# What a reader may have to get first.
REASONS = ("AWS credentials", "Docker", "git", "Python 3.11 or newer", "about")


def test_every_block_names_its_language() -> None:
    """A block of `sh` is run in tests/e2e, unless its first line is `# Needs ...`."""
    unknown = [
        (block.page, block.number, block.language)
        for page in PAGES
        for block in blocks(page)
        if block.language not in {"sh", "python", *OTHER_LANGUAGES}
    ]

    assert unknown == []


def test_a_block_that_is_not_run_says_what_it_needs() -> None:
    vague = [
        (block.page, block.number)
        for page in PAGES
        for block in blocks(page)
        if block.text.startswith(NEEDS) and not block.text.removeprefix(NEEDS).startswith(REASONS)
    ]

    assert vague == []


def test_a_page_sets_the_stack_s_url_and_key_before_it_uses_them() -> None:
    unset = []
    for page in pages_to_run():
        run = "".join(block.text for block in blocks(page) if block.is_run)
        used = re.search(r"GATEHOUSE_[A-Z]", run)
        if used and ". .gatehouse/local.env\n" not in run[: used.start()]:
            unset.append(page.name)

    assert unset == []


def test_every_block_of_shell_can_be_parsed() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "sh":
                parsed = subprocess.run(
                    ["bash", "-n"], input=block.text, text=True, capture_output=True, check=False
                )
                assert parsed.returncode == 0, (block.page, block.number, parsed.stderr)


def test_most_pages_have_something_to_run() -> None:
    assert len(pages_to_run()) >= 9
