"""`.gatehouse/local.env`: base URL and key of the local stack, for scripts to source."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LocalEnv:
    """The base URL and a key of the local stack."""

    url: str
    api_key: str


def read(path: Path) -> LocalEnv | None:
    """Return the file's URL and key, None when the file or one of them is missing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    url, api_key = pairs.get("GATEHOUSE_URL", ""), pairs.get("GATEHOUSE_API_KEY", "")
    return LocalEnv(url, api_key) if url and api_key else None


def write(path: Path, env: LocalEnv) -> None:
    """Replace the file in one step; only its owner can ever read it."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"GATEHOUSE_URL={env.url}\nGATEHOUSE_API_KEY={env.api_key}\n")
    draft.replace(path)
