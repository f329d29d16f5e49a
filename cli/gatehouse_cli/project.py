"""The clone of Gatehouse that a command works on, and the tools installed in it."""

from pathlib import Path

from gatehouse_cli.errors import CommandError

TOOLS = ".gatehouse/tools"


def find_project(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds the stack's template.

    Raises:
        CommandError: No such folder exists.

    """
    for folder in (start, *start.parents):
        if (folder / "template.yaml").is_file() and (folder / "samconfig.toml").is_file():
            return folder
    raise CommandError(
        f"No template.yaml at or above {start}: run this inside a clone of Gatehouse."
    )


def get_tool(project: Path, environment: str, name: str) -> Path:
    """Return the path of a program that `make setup` installs.

    Raises:
        CommandError: It is not installed.

    """
    path = project / TOOLS / environment / "bin" / name
    if not path.is_file():
        raise CommandError(f"{name} is missing from {TOOLS}/{environment}: run `make setup` first.")
    return path
