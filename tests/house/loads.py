"""Import one handler with only the layer's packages; print the modules that it loads, as JSON.

python -S loads.py <function's folder> <top-level package of the layer> ...
"""

import importlib.abc
import json
import sys
from collections.abc import Sequence
from types import ModuleType


class _OnlyTheLayer(importlib.abc.MetaPathFinder):
    """Refuses packages of this environment that the layer does not have."""

    def __init__(self, others: Sequence[str]) -> None:
        self._others = frozenset(others)

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> None:
        del path, target
        if fullname.partition(".")[0] in self._others:
            raise ModuleNotFoundError(f"{fullname} is not in the layer", name=fullname)


def main() -> None:
    """Import the handler and print what it loaded."""
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
