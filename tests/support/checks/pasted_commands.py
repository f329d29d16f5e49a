"""The blocks of README and docs/, and a check that a page's blocks work as a reader pastes them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.worlds.deployed_stack import PROJECT, Deployed, command, free_ports

PAGES = [
    PROJECT / "README.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]
# A block that begins with this comment is not run: the reader sees what it needs.
NEEDS = "# Needs "
# Where the pages' receiver listens. A test takes a free port: others may run beside it.
RECEIVER_PORT = "9000"
_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SEPARATOR = "\x1e"
# What a reader does by hand: wait when the public routes are throttled, or when a busy engine
# answers too late.
_PRELUDE = r"""
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
curl() {
  local answer tries
  for tries in $(seq 100); do
    answer=$(command curl "$@") || return
    case $answer in
      *"Too Many Requests"* | *"Service Unavailable"*) sleep 0.5 ;;
      *) break ;;
    esac
  done
  printf '%s\n' "$answer"
}
"""
# What follows a log is ended with Ctrl-C after its first line.
_FOLLOW = """
import signal, subprocess, sys, threading
follower = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
patience = threading.Timer(60, follower.kill)
patience.start()
first = follower.stdout.readline()
follower.send_signal(signal.SIGINT)
print(first + follower.communicate()[0])
patience.cancel()
sys.exit(not first)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and its number on the page, from 1."""

    page: str
    number: int
    language: str
    text: str

    @property
    def is_run(self) -> bool:
        """Return whether a reader can paste it with nothing but the local stack."""
        return self.language in {"sh", "python"} and not self.text.startswith(NEEDS)


def blocks(page: Path) -> list[Block]:
    """List the fenced blocks of a page."""
    found = _FENCE.findall(page.read_text())
    return [
        Block(str(page.relative_to(PROJECT)), number, language, text)
        for number, (language, text) in enumerate(found, start=1)
    ]


def pages_to_run() -> list[Path]:
    """List the pages with a block to run."""
    return [page for page in PAGES if any(block.is_run for block in blocks(page))]


def restarts_a_function(page: Path) -> bool:
    """Return whether a page's blocks restart a function, which other tests would notice."""
    return any("/restart" in block.text for block in blocks(page) if block.is_run)


def _follows_a_log(block: Block) -> bool:
    return "gatehouse logs" in block.text or "websockets" in block.text


def check_page(stack: Deployed, page: Path, folder: Path) -> None:
    """Run a page's blocks in order in one shell, as in a clone whose stack is running."""
    _prepare(stack, folder)
    script = folder / "page.sh"
    run = [block for block in blocks(page) if block.is_run]
    steps = "".join(_step(run, position) for position in range(len(run)))
    (port,) = free_ports(1)
    script.write_text(_PRELUDE + steps.replace(RECEIVER_PORT, str(port)))
    # Only what a fresh terminal has: the page itself must set the stack's URL and key.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", str(script)],
        cwd=folder,
        env=kept | {"no_proxy": "localhost,127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    outputs = done.stdout.split(_SEPARATOR)[1:]
    where = f"{page.name}, block {run[max(len(outputs), 1) - 1].number}"
    assert done.returncode == 0, (where, done.stdout[-2_000:], done.stderr[-2_000:])
    for block, output in zip(run, outputs, strict=True):
        assert '"error"' not in output, (f"{page.name}, block {block.number}", output)
        if _follows_a_log(block):
            assert "Z " in output, (f"{page.name}, block {block.number}: no log line", output)


def _prepare(stack: Deployed, folder: Path) -> None:
    """Make a folder that looks like the clone from which the stack was started."""
    (folder / ".gatehouse").mkdir()
    (folder / "docs").symlink_to(PROJECT / "docs")
    shutil.copy(stack.home.env_file, folder / ".gatehouse" / "local.env")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (folder / "follow.py").write_text(_FOLLOW)
    gatehouse, python = shlex.quote(command("gatehouse")), shlex.quote(sys.executable)
    logs = f'[ "$1" != logs ] || exec {python} follow.py {gatehouse} "$@"'
    for name, text in (
        ("python", f'exec {python} "$@"'),
        ("gatehouse", f'{logs}\nexec {gatehouse} "$@"'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)


def _step(run: list[Block], position: int) -> str:
    block = run[position]
    mark = f"\nprintf '{_SEPARATOR}'\n"
    if block.language == "sh":
        return mark + block.text
    # Later blocks of Python go into the same file as the earlier ones.
    code = "".join(one.text + "\n" for one in run[: position + 1] if one.language == "python")
    python = f"{shlex.quote(sys.executable)} -u"
    follow = f"{python} follow.py " if _follows_a_log(block) else ""
    write = f"cat > pasted.py <<'END_OF_PASTED'\n{code}END_OF_PASTED\n"
    return f"{mark}{write}{follow}{python} pasted.py\n"
