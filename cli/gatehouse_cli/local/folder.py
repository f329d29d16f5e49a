"""Where a local stack keeps its things, and for whom."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gatehouse_cli.errors import CommandError


@dataclass(frozen=True)
class LocalFolder:
    """The folder of one local stack, `.gatehouse` unless said otherwise.

    Everything in it is the owner's alone: the engine keeps key material in clear.
    """

    root: Path

    @property
    def state(self) -> Path:
        """The engine's saved state: tables, keys of the key service, functions."""
        return self.root / "state"

    @property
    def scratch(self) -> Path:
        """The engine's temporary files, of no worth after it has ended."""
        return self.root / "tmp"

    @property
    def logs(self) -> Path:
        """What engine, build and deploy printed last."""
        return self.root / "log"

    @property
    def env_file(self) -> Path:
        """URL and key, for scripts."""
        return self.root / "local.env"

    @property
    def stamp(self) -> Path:
        """What is deployed in the state. Lies beside it, so that both are forgotten together."""
        return self.state / "deployed.stamp"

    def prepare(self) -> None:
        """Make the folders, and empty the scratch folder of an earlier engine's leavings."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder in (self.root, self.state, self.scratch, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second stack out: two engines would overwrite each other's state."""
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CommandError(
                f"Gatehouse is already running from {self.root}: stop that first."
            ) from (error)
        try:
            yield
        finally:
            os.close(descriptor)
