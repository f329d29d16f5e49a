"""The folder that holds everything of one local stack."""

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
    """The folder of one local stack, by default `.gatehouse`.

    Only its owner can read it: the engine stores key material unencrypted.
    """

    root: Path

    @property
    def state(self) -> Path:
        """The engine's saved state: tables, KMS keys, functions."""
        return self.root / "state"

    @property
    def scratch(self) -> Path:
        """The engine's temporary files, deleted when it exits."""
        return self.root / "tmp"

    @property
    def logs(self) -> Path:
        """The last output of engine, build and deploy."""
        return self.root / "log"

    @property
    def env_file(self) -> Path:
        """URL and key for scripts."""
        return self.root / "local.env"

    @property
    def engine_access(self) -> Path:
        """The engine's port and secrets, which are deleted with its state."""
        return self.state / "engine-access"

    @property
    def stamp(self) -> Path:
        """The hash of what is deployed. It is in the state folder, so both are deleted together."""
        return self.state / "deployed.stamp"

    def prepare(self) -> None:
        """Create the folders, and delete the temporary files of an earlier engine."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        for folder in (self.root, self.state, self.scratch, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder: two engines would overwrite each other's state.

        A folder that holds nothing else at the end of the block is deleted.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor, path)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CommandError(
                f"Gatehouse is already running from {self.root}: stop that first, or give the"
                " second stack a folder and a port with --home and --port."
            ) from error
        try:
            yield
        finally:
            if [entry.name for entry in self.root.iterdir()] == [path.name]:
                path.unlink()
                self.root.rmdir()
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    """Lock an open file; raise BlockingIOError if another process has locked or deleted it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not (path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))):
        raise BlockingIOError


def place(project: Path, home: Path | None) -> LocalFolder:
    """Return the folder that the option `--home` names, the clone's own when it is not given."""
    return LocalFolder((home or project / ".gatehouse").absolute())
