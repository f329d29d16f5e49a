"""Load one handler where only the layer's packages exist; print what it brought in, as JSON.

python -S loads.py <function's folder> <top-level package of the layer> ...
"""

import importlib.abc
import json
import sys
from collections.abc import Sequence
from types import ModuleType


class _OnlyTheLayer(importlib.abc.MetaPathFinder):
    """Refuse what the layer does not hold, though this environment has it."""

    def __init__(self, others: Sequence[str]) -> None:
        self._others = frozenset(others)

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> None:
        del path, target
        if fullname.partition(".")[0] in self._others:
            raise ModuleNotFoundError(f"{fullname} is not in the layer", name=fullname)


def main() -> None:
    """Load and tell."""
    folder, packages, others = sys.argv[1:]
    sys.path.insert(0, folder)
    sys.meta_path.insert(0, _OnlyTheLayer(others.split(",")))
    import handler  # noqa: F401, PLC0415 - found in the folder

    tops = {name.partition(".")[0] for name in sys.modules}
    found = {
        "packages": sorted(tops & set(packages.split(","))),
        "ours": sorted(name for name in sys.modules if name.startswith("gatehouse.")),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
