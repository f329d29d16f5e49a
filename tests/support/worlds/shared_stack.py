"""One deployed stack for all the processes of a test run, and turns for tests that need it alone.

The process that controls the run starts the stack in a thread and stops it at the end. It passes
a folder to the workers; there the stack's address appears as soon as the stack is up, or the
error that kept it from starting.
"""

from __future__ import annotations

import fcntl
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatehouse_cli.local.folder import LocalFolder
from support.worlds.deployed_stack import Deployed, deployed

UP_WITHIN = 280.0
ROOM = 3 * 1024**3


class StackHost:
    """Runs the stack in a thread of this process until `stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stopping = threading.Event()
        # A daemon, so that a run that is interrupted twice still ends; the engine ends with it.
        self._thread = threading.Thread(target=self._run, name="stack host", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the stack and wait until it has stopped."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with deployed(LocalFolder(self.folder / "home")) as stack:
                _write(self.folder / "address.json", stack.to_json())
                self._stopping.wait()
        except BaseException:  # noqa: BLE001 - each worker raises it
            _write(self.folder / "error.txt", traceback.format_exc())


def wait_for_stack(folder: Path) -> Deployed:
    """Return the stack of the folder once it is up; raise the error that kept it from starting."""
    address, error = folder / "address.json", folder / "error.txt"
    deadline = time.monotonic() + UP_WITHIN
    while not address.exists():
        if error.exists():
            raise RuntimeError(f"The stack did not start:\n{error.read_text()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"The stack is not up after {UP_WITHIN:.0f} s")
        time.sleep(0.1)
    return Deployed.from_json(address.read_text())


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Use the stack beside others for the block, or, when `alone`, with nobody beside."""
    with (folder / "turns").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def roomy_memory() -> str | None:
    """Return a folder in memory that holds what the engine unpacks; None where there is none.

    Functions' layers are unpacked there, with the state and the logs: 300 MB and 6,000 files. Some
    disks take long to write and to delete them.
    """
    memory = "/dev/shm"  # noqa: S108 - the run makes a folder of its own in it
    if not Path(memory).is_dir():
        return None
    available = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
    }["MemAvailable"]
    return memory if min(available, shutil.disk_usage(memory).free) > ROOM else None


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(path)
