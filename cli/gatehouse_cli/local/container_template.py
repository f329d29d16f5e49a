"""The copy of a built template for `sam local`, whose functions use the running stack.

SAM passes a function only variables that the template declares, and cannot look up what a table or
a queue is called. In the copy each function therefore declares what it has in the engine.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatehouse_cli import yaml_text
from gatehouse_cli.local import container_code
from gatehouse_cli.local.containers import HOST
from gatehouse_cli.local.engine_access import LOOPBACK

Variables = Mapping[str, str]


def write(
    built: Path, deployed: Mapping[str, Variables], *, port: int, target: Mapping[str, str]
) -> Path:
    """Write the copy beside a built template, whose paths are relative; return its path.

    `deployed` are the variables of each function in the engine, by logical id. `port` is the
    engine's. `target` are the parameters of the build.
    """
    template = yaml_text.load(built.read_text(encoding="utf-8"))
    path = built.with_name(f"containers-{port}.yaml")
    path.touch(mode=0o600)  # Functions' variables can be settings keys.
    copied = for_containers(template, deployed, port=port, target=target)
    path.write_text(yaml_text.dump(copied), encoding="utf-8")
    return path


def for_containers(
    template: dict[str, Any],
    deployed: Mapping[str, Variables],
    *,
    port: int,
    target: Mapping[str, str],
) -> dict[str, Any]:
    """Return a copy of a template, intrinsic functions in their long form, for `sam local`.

    Its functions have no layers; see `container_code`.
    """
    changed = copy.deepcopy(template)
    shared = changed["Globals"]["Function"]
    shared.pop("Environment", None)
    shared.pop("Layers", None)
    shared["Runtime"] = target["PythonRuntime"]
    shared["Architectures"] = [target["Architecture"]]
    for name in functions(template):
        properties = changed["Resources"][name]["Properties"]
        properties["Environment"] = {"Variables": _variables(deployed[name], port)}
        properties["CodeUri"] = container_code.folder_of(port, name)
        properties.pop("Layers", None)
    return changed


def functions(template: dict[str, Any]) -> list[str]:
    """List the logical ids of a template's Python functions, in its order."""
    return [
        name
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    ]


def endpoint(port: int) -> str:
    """Return the URL of the engine on this port as containers know it."""
    return f"http://{HOST}:{port}"


def _variables(deployed: Variables, port: int) -> dict[str, str]:
    """Return a function's variables with the engine under the name that containers know."""
    here, there = f"http://{LOOPBACK}:{port}", endpoint(port)
    own = {name: value.replace(here, there) for name, value in deployed.items()}
    return own | {"AWS_ENDPOINT_URL": there}
