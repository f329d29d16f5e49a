"""Keeps one copy of what `sam build` keeps twice: in its cache, and in its build folder."""

import filecmp
import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path


def link_copies(built: Path, cache: Path) -> None:
    """Replace each built file by a link to its copy in the cache.

    Both have a subfolder for each function and layer, under other names. SAM deletes and creates
    files in both and writes into none, so that a link is as good as a copy.
    """
    copies: dict[Path, list[Path]] = defaultdict(list)
    for entry in _files(cache):
        copies[_inside(entry, cache)].append(entry)
    for file in _files(built):
        for copy in copies[_inside(file, built)]:
            # Another build may delete the cache's copy meanwhile: then the file stays as it is.
            with suppress(FileNotFoundError):
                if file.samefile(copy) or _is_linked(file, copy):
                    break


def _is_linked(file: Path, copy: Path) -> bool:
    """Link a file to its copy if they are equal; return whether they were."""
    if not filecmp.cmp(file, copy, shallow=False):
        return False
    draft = file.with_name(f"{file.name}.link")
    draft.unlink(missing_ok=True)
    os.link(copy, draft)
    draft.replace(file)
    return True


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/**/*") if path.is_file() and not path.is_symlink()]


def _inside(file: Path, folder: Path) -> Path:
    """Return the path inside the function or layer that the file belongs to."""
    return Path(*file.relative_to(folder).parts[1:])
