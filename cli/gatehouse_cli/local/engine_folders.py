"""Lets the processes of functions share what they unpack. Runs in the engine's process.

For each process of a function the engine unpacks the function's code and layers, 75 to 170 MB, into
a folder of the process. Here each archive is unpacked once, and the folder is a link to it. What
the clone's build folder has already is linked too, instead of being unpacked.
"""

import hashlib
import os
import shutil
import tempfile
import threading
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

# The variable with the build folder, whose subfolders are what was built.
BUILT_VARIABLE = "GATEHOUSE_BUILT"
FOLDER = "unpacked"
_ONE_AT_A_TIME = threading.Lock()


class SharedArchive(zipfile.ZipFile):
    """An archive whose `extractall` makes the target a link to the one unpacked copy.

    The archive's file is deleted: the engine wrote it only to unpack it.
    """

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        """Unpack the whole archive, unless that was done before, and link `path` to it."""
        target = Path(path or "")
        if members is not None or pwd is not None or not _is_replaceable(target):
            super().extractall(path, members, pwd)
            return
        archive = Path(str(self.filename))
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        copy = Path(tempfile.gettempdir()) / FOLDER / digest
        with _ONE_AT_A_TIME:
            if not copy.is_dir():
                self._unpack(copy)
            target.rmdir()
            target.symlink_to(copy, target_is_directory=True)
            _remove_unused(copy)
        archive.unlink()

    def _unpack(self, copy: Path) -> None:
        draft = copy.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        built = self._built()
        for member in self.infolist():
            if built is None or not _link(built / member.filename, draft, member):
                self.extract(member, draft)
        draft.rename(copy)

    def _built(self) -> Path | None:
        """Return the folder that this archive was made from, if the build still has it.

        It is the one with the archive's first file; each file is compared before it is used.
        """
        first = next((member for member in self.infolist() if not member.is_dir()), None)
        build = os.environ.get(BUILT_VARIABLE)
        if first is None or not build or not Path(build).is_dir():
            return None
        folders = (one for one in Path(build).iterdir() if one.is_dir())
        return next((one for one in folders if _is_same(one / first.filename, first)), None)


def share(runtime: ModuleType) -> None:
    """Make the engine's module that starts functions use shared archives.

    Raises:
        RuntimeError: The module unpacks in another way than the one that was tried.

    """
    if getattr(runtime, "zipfile", None) is not zipfile:
        raise RuntimeError(f"{runtime.__name__} does not unpack with the module zipfile")
    shared = ModuleType("shared_zipfile")
    vars(shared).update(vars(zipfile) | {"ZipFile": SharedArchive})
    runtime.zipfile = shared  # type: ignore[attr-defined]  # Checked above.


def _is_replaceable(target: Path) -> bool:
    """Return whether a target is an empty folder, as the engine makes one to unpack into."""
    return target.is_dir() and not target.is_symlink() and not any(target.iterdir())


def _link(built: Path, draft: Path, member: zipfile.ZipInfo) -> bool:
    """Link a file of the build into the draft if it is the archive's; return whether it was."""
    path = draft / member.filename
    if member.is_dir() or not path.resolve().is_relative_to(draft.resolve()):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(built)
    except OSError:  # It is missing, or on another disk.
        return False
    # Compared after it was linked, so that no build can replace it in between.
    if _is_same(path, member):
        return True
    path.unlink()
    return False


def _is_same(path: Path, member: zipfile.ZipInfo) -> bool:
    with suppress(OSError):
        if path.stat().st_size == member.file_size:
            return zlib.crc32(path.read_bytes()) == member.CRC
    return False


def _remove_unused(kept: Path) -> None:
    """Delete the copies that no process's folder links to, such as those of earlier code."""
    scratch = kept.parent.parent
    used = {link.readlink() for link in scratch.glob("*/*") if link.is_symlink()}
    for copy in kept.parent.iterdir():
        if copy not in used:
            shutil.rmtree(copy, ignore_errors=True)
