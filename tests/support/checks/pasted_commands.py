"""The commands of the README and of docs/ that are one request, and a check that one works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from support.worlds.deployed_stack import PROJECT, Deployed

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
PATIENCE = 60.0


def commands() -> list[tuple[str, str]]:
    """List the shell blocks with a request, each with its page."""
    blocks = [
        (page.name, block.replace(". .gatehouse/local.env\n", ""))
        for page in PAGES
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    return [(page, block) for page, block in blocks if "curl " in block]


def check_command(stack: Deployed, page: str, command: str) -> None:
    """Run a command as a reader would; fail when it fails or its answer is an error."""
    deadline = time.monotonic() + PATIENCE
    while True:
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
        # The stage throttles public routes, which other tests call at the same time, and a busy
        # engine may answer too late: a reader would try again.
        again = any(text in done.stdout for text in ("Too Many Requests", "Service Unavailable"))
        if not again or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert done.returncode == 0, (page, done.stderr)
    assert all("error" not in answer for answer in _answers(done.stdout)), (page, done.stdout)


def _answers(text: str) -> Iterator[Any]:
    """Read JSON documents that follow one another; a 204 has none."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        answer, end = decoder.raw_decode(rest)
        yield answer
        rest = rest[end:].strip()
