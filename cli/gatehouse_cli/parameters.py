"""What a deployment does to the parameters of a stack, as lines for its user.

SAM keeps the deployed value of a parameter that it is not given, whatever the template's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatehouse_cli.local import template

# Set by the command at each deployment.
_OWN = {"DeployedAt"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the template; the value of a `secret` one is never shown."""

    default: str
    secret: bool


def declared(path: Path) -> dict[str, Parameter]:
    """Return the parameters that a template declares, by name."""
    found: dict[str, Any] = template.document(path)["Parameters"]
    return {
        name: Parameter(str(one.get("Default", "")), bool(one.get("NoEcho", False)))
        for name, one in found.items()
    }


def changes(
    deployed: Mapping[str, str], given: Mapping[str, str], known: Mapping[str, Parameter]
) -> list[str]:
    """List what a deployment changes, and the values that it keeps although they are no default."""
    lines = []
    for name, parameter in known.items():
        old = deployed.get(name)
        if parameter.secret or name in _OWN:
            continue
        if name in given:
            before = parameter.default if old is None else old
            if given[name] != before:
                lines.append(f"{name} changes from {_shown(before)} to {_shown(given[name])}")
        elif old is not None and old != parameter.default:
            lines.append(
                f"{name} stays {_shown(old)}, as deployed earlier; the default is"
                f" {_shown(parameter.default)}"
            )
    return lines


def _shown(value: str) -> str:
    return value or "empty"
