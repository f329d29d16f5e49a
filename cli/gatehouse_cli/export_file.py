"""The file into which an export goes. What is no regular file is never replaced by one."""

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatehouse_cli.errors import CommandError, reason

STANDARD_OUTPUT = Path("-")


def check(file: Path) -> None:
    """Check that an export can be written to `file`, before the work of it begins.

    Raises:
        CommandError: It is a folder or a block device, or its folder is missing or read-only.

    """
    if file == STANDARD_OUTPUT:
        return
    with _readable_errors(file):
        if _streams_into(file):
            return
        folder = _resolved(file).parent
        if not folder.is_dir():
            raise CommandError(f"{file} cannot be written: there is no folder {folder}.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CommandError(f"{file} cannot be written: the folder {folder} is read-only.")


def write(file: Path, text: str) -> None:
    """Write an export.

    `-` is standard output. A pipe or a terminal gets the text as it is. A regular file is replaced
    in one step, also behind a symbolic link, which stays; only its owner may read it, and nobody
    who could not read it before.

    Raises:
        CommandError: It cannot be written. A file that was there is as before.
        BrokenPipeError: Nobody reads the pipe any more.

    """
    if file == STANDARD_OUTPUT:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    with _readable_errors(file):
        if _streams_into(file):
            with file.open("w", encoding="utf-8") as stream:
                stream.write(text)
        else:
            _replace(_resolved(file), text)


def _streams_into(file: Path) -> bool:
    """Return whether a file takes text without being replaced: a pipe, a terminal, /dev/null."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISREG(mode):
        return False
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return True
    kind = "a folder" if stat.S_ISDIR(mode) else "neither a file nor a pipe"
    raise CommandError(f"{file} is {kind}: name a file, or - for standard output.")


def _resolved(file: Path) -> Path:
    """Return the file behind symbolic links, which need not exist."""
    return Path(os.path.realpath(file))


def _replace(file: Path, text: str) -> None:
    allowed = 0o600
    if file.exists():
        allowed &= stat.S_IMODE(file.stat().st_mode)
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name[:100]}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), allowed)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@contextmanager
def _readable_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: the path has a null byte
        raise CommandError(f"{file} cannot be written: {reason(error)}.") from error
