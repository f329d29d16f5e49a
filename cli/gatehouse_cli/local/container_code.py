"""The code of functions for containers: a function's files and its layers' in one folder.

`sam local` builds a Docker image for each call of a function that has layers of its own template.
A function without layers gets its folder mounted, and all share one image.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The folder in a layer that Lambda's Python searches, after the function's own.
_SEARCHED = "python"


def layers_of(template: Mapping[str, Any], function: str) -> list[str]:
    """Return the logical ids of a function's layers, in their order; the last one wins."""
    shared = template["Globals"]["Function"].get("Layers", [])
    own = template["Resources"][function]["Properties"].get("Layers", [])
    return [layer["Ref"] for layer in (*shared, *own)]


def folder_of(port: int, function: str) -> str:
    """Return a function's folder, relative to the build."""
    return f"containers-{port}/{function}"


def lay_out(template: Mapping[str, Any], built: Path, *, port: int, functions: list[str]) -> None:
    """Write the folders of functions beside a built template, as links to the files of the build.

    `built` is the folder of the build, and `port` the engine's.
    """
    resources = template["Resources"]
    shutil.rmtree(built / f"containers-{port}", ignore_errors=True)
    for function in functions:
        target = built / folder_of(port, function)
        contents = [
            built / resources[layer]["Properties"]["ContentUri"] / _SEARCHED
            for layer in layers_of(template, function)
        ]
        for source in (*contents, built / resources[function]["Properties"]["CodeUri"]):
            shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    os.link(source, target)
