"""The parameter sets of samconfig.toml, and the arguments of a build for one target."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatehouse_cli.errors import OptionError
from gatehouse_cli.project import TOOLS

# The place of `gatehouse up`, which is not on AWS.
LOCAL = "local"


@dataclass(frozen=True)
class Place:
    """One parameter set: a stack's name, its parameters, and where SAM deploys it.

    Without a region or a profile, those of the environment hold.
    """

    stack: str
    parameters: Mapping[str, str]
    region: str | None = None
    profile: str | None = None


def read(project: Path, name: str) -> Place:
    """Return the parameter set of a place.

    Raises:
        OptionError: samconfig.toml has no set with this name.

    """
    places = read_all(project)
    if name not in places:
        raise OptionError(
            f"samconfig.toml has no parameter set {name}. It has {', '.join(places)}."
        )
    return places[name]


def read_all(project: Path) -> dict[str, Place]:
    """Return the parameter sets by name."""
    with (project / "samconfig.toml").open("rb") as file:
        found = tomllib.load(file)
    return {name: _place(one) for name, one in found.items() if isinstance(one, dict)}


def _place(place: Mapping[str, Any]) -> Place:
    pairs = (item.split("=", 1) for item in place["deploy"]["parameters"]["parameter_overrides"])
    common = {**place["global"]["parameters"], **place["deploy"]["parameters"]}
    return Place(
        common["stack_name"],
        dict(pairs),
        region=common.get("region"),
        profile=common.get("profile"),
    )


def overrides(parameters: Mapping[str, str]) -> list[str]:
    """Return the arguments of SAM's --parameter-overrides."""
    return [f"{name}={value}" for name, value in parameters.items()]


def layer_target(project: Path, runtime: str, architecture: str) -> dict[str, str]:
    """Return the environment that layers/target.mk reads."""
    return {
        "GATEHOUSE_UV": str(project / TOOLS / "uv" / "bin" / "uv"),
        "GATEHOUSE_RUNTIME": runtime,
        "GATEHOUSE_ARCHITECTURE": architecture,
    }


def build_words(project: Path, target: Mapping[str, str]) -> list[str]:
    """Return the arguments that set the folders of `sam build` for one target.

    SAM keys its cache by the source folder alone, so what else decides is in the folder's name.
    """
    work = _work(project, target)
    return ["--build-dir", str(work / "out"), "--cache-dir", str(work / "cache"), "--cached"]


def built_template(project: Path, target: Mapping[str, str]) -> Path:
    """Return the path of the built template."""
    return _work(project, target) / "out" / "template.yaml"


def _work(project: Path, target: Mapping[str, str]) -> Path:
    shared = hashlib.sha256((project / "layers" / "target.mk").read_bytes()).hexdigest()[:8]
    kind = f"{target['GATEHOUSE_RUNTIME']}-{target['GATEHOUSE_ARCHITECTURE']}"
    return project / ".gatehouse" / "build" / f"{kind}-{shared}"
