"""`.gatehouse/local.env`: base URL and key of the local stack, for scripts to source."""

import os
from dataclasses import dataclass
from pathlib import Path

from gatehouse_cli.errors import CommandError


@dataclass(frozen=True)
class LocalEnv:
    """The base URL and a key of the local stack."""

    url: str
    api_key: str


def read(path: Path) -> LocalEnv | None:
    """Return the file's URL and key, None when the file or one of them is missing."""
    found = variables(path)
    url, api_key = found.get("GATEHOUSE_URL", ""), found.get("GATEHOUSE_API_KEY", "")
    return LocalEnv(url, api_key) if url and api_key else None


def variables(path: Path) -> dict[str, str]:
    """Return the file's variables by name, none when the file is missing.

    Raises:
        CommandError: The file cannot be read.

    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}.") from error
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)


def write(path: Path, env: LocalEnv) -> None:
    """Replace the file in one step; only its owner can ever read it."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"GATEHOUSE_URL={env.url}\nGATEHOUSE_API_KEY={env.api_key}\n")
    draft.replace(path)
