"""Every command of the README and of docs/ that a reader would paste, against the stack."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.deployed import Deployed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def curls() -> list[tuple[str, str]]:
    """List the blocks of shell that are one request."""
    blocks = [
        (page.name, block.replace(". .gatehouse/local.env\n", ""))
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    return [(page, block) for page, block in blocks if "curl " in block]


def answers(text: str) -> Iterator[Any]:
    """Read the JSON documents that stand one behind the other; a 204 has none."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        yield answer
        rest = rest[end:].strip()


def test_there_are_commands_to_try() -> None:
    assert len(curls()) >= 7


@pytest.mark.skipif(shutil.which("curl") is None, reason="the machine has no curl")
@pytest.mark.parametrize(("page", "command"), curls())
def test_a_pasted_request_works(stack: Deployed, page: str, command: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env=os.environ
        | {
            "GATEHOUSE_URL": stack.url,
            "GATEHOUSE_API_KEY": stack.admin_key,
            "no_proxy": "localhost",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, (page, done.stderr)
    assert all("error" not in answer for answer in answers(done.stdout)), (page, done.stdout)
