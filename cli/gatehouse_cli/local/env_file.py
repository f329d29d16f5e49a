"""`.gatehouse/local.env`: how to call the local stack, for shells and scripts to source."""

import os
from dataclasses import dataclass
from pathlib import Path

from gatehouse_cli.errors import CommandError, reason


@dataclass(frozen=True)
class LocalEnv:
    """The base URL and a key of the local stack, and the engine's URL and credentials."""

    url: str
    api_key: str
    engine_url: str = ""
    engine_id: str = ""
    engine_secret: str = ""


_NAMES = {
    "GATEHOUSE_URL": "url",
    "GATEHOUSE_API_KEY": "api_key",
    "GATEHOUSE_ENGINE_URL": "engine_url",
    "GATEHOUSE_ENGINE_ID": "engine_id",
    "GATEHOUSE_ENGINE_SECRET": "engine_secret",
}


def read(path: Path) -> LocalEnv | None:
    """Return the file's values, None when the file, the URL or the key is missing."""
    found = variables(path)
    env = LocalEnv(**{field: found.get(name, "") for name, field in _NAMES.items()})
    return env if env.url and env.api_key else None


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
        raise CommandError(f"{path} cannot be read: {reason(error)}.") from error
    return dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)


def write(path: Path, env: LocalEnv) -> None:
    """Replace the file in one step; only its owner can ever read it.

    The names are exported, so that the programs of a shell that reads the file have them.
    """
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for name, field in _NAMES.items():
            file.write(f"export {name}={getattr(env, field)}\n")
    draft.replace(path)
