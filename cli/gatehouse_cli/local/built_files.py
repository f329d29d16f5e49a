"""Keeps one copy of what `sam build` keeps twice: in its cache, and in its build folder."""

import filecmp
import os
from collections import defaultdict
from pathlib import Path


def link_copies(built: Path, cache: Path) -> None:
    """Replace each built file by a link to its copy in the cache.

    `built` and `cache` have a subfolder for each function and layer, under other names. SAM deletes
    and creates files in both and writes into none, so that a link is as good as a copy.
    """
    copies: dict[Path, list[Path]] = defaultdict(list)
    for entry in _files(cache):
        copies[_inside(entry, cache)].append(entry)
    for file in _files(built):
        for copy in copies[_inside(file, built)]:
            if file.samefile(copy):
                break
            if filecmp.cmp(file, copy, shallow=False):
                draft = file.with_name(f"{file.name}.link")
                draft.unlink(missing_ok=True)
                os.link(copy, draft)
                draft.replace(file)
                break


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/**/*") if path.is_file() and not path.is_symlink()]


def _inside(file: Path, folder: Path) -> Path:
    """Return the path inside the function or layer that the file belongs to."""
    return Path(*file.relative_to(folder).parts[1:])
