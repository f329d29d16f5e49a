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

    def namelist(self) -> list[str]:
        """Return no names.

        The engine resolves each one to refuse a path outside, which for a large layer takes a tenth
        of a second at every start of a process. `_unpack` writes nothing outside.
        """
        return []

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        """Unpack the whole archive, unless that was done before, and link `path` to it."""
        target = Path(path or "")
        if members is not None or pwd is not None or not _is_replaceable(target):
            super().extractall(path, super().namelist() if members is None else members, pwd)
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
        folders = _built_folders()
        for member in self.infolist():
            found = next((one for one in folders if _link(one, draft, member)), None)
            if found is None:
                self.extract(member, draft)
            elif found is not folders[0]:  # It will have the next file too.
                folders.remove(found)
                folders.insert(0, found)
        draft.rename(copy)


def _built_folders() -> list[Path]:
    """Return the build's folders of functions and layers; one of them became the archive."""
    build = Path(os.environ.get(BUILT_VARIABLE, "/nowhere"))
    return [one for one in build.iterdir() if one.is_dir()] if build.is_dir() else []


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


def _link(folder: Path, draft: Path, member: zipfile.ZipInfo) -> bool:
    """Link a file of the build into the draft if it is the archive's; return whether it was."""
    source, path = folder / member.filename, draft / member.filename
    if member.is_dir() or ".." in path.parts or not path.is_relative_to(draft):
        return False
    try:
        if source.stat().st_size != member.file_size:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(source)
    except OSError:  # It is missing, or on another disk.
        return False
    # Compared after it was linked, so that no build can replace it in between.
    if zlib.crc32(path.read_bytes()) == member.CRC:
        return True
    path.unlink()
    return False


def _remove_unused(kept: Path) -> None:
    """Delete the copies that no process's folder links to, such as those of earlier code."""
    scratch = kept.parent.parent
    used = {link.readlink() for link in scratch.glob("*/*") if link.is_symlink()}
    for copy in kept.parent.iterdir():
        if copy not in used:
            shutil.rmtree(copy, ignore_errors=True)
