"""Checks of a bootstrap file that its schema cannot make. Pure."""

from __future__ import annotations

from gatehouse.bootstrap.model import Located


def check_unique_names(root: Located) -> None:
    """Check that no section has two entries of one name. `root` must match the schema.

    Raises BadInput that names line and field.
    """
    for section, entries in root.value.items():
        names: set[str] = set()
        for number, entry in enumerate(entries.value or ()):
            located = entry.value["name"]
            name = located.value.strip()
            if name in names:
                raise located.error(f"{section}[{number}].name", f"{name!r} appears twice")
            names.add(name)
