"""Servers of the bench, each a process of its own that prints its port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(script: str, *arguments: str | Path) -> Iterator[int]:
    """Run a server of this folder until the block ends; yields its port on loopback."""
    command = [sys.executable, Path(__file__).with_name(script), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield int(process.stdout.readline())
        process.stdin.close()
