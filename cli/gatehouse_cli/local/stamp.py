"""One hash over all inputs of a deployment: the same hash needs no build and no deployment."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

# The lock files represent the tools that build and deploy; the rest is their input.
INPUTS = (
    "template.yaml",
    "samconfig.toml",
    "cli/gatehouse_cli/local/engine_template.py",
    "functions",
    "layers",
    "requirements/engine.lock",
    "requirements/sam.lock",
)


def compute(project: Path, parameters: Mapping[str, str]) -> str:
    """Return the hash of every input's path and bytes and of the stack's parameters."""
    digest = hashlib.sha256()
    digest.update(json.dumps(dict(parameters), sort_keys=True).encode())
    for path in _files(project):
        content = path.read_bytes()
        digest.update(f"\0{path.relative_to(project).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(project: Path) -> Iterator[Path]:
    for name in INPUTS:
        root = project / name
        if root.is_file():
            yield root
        # Bytecode is excluded, as it is from the layers' builds.
        yield from sorted(
            path
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
        )


def matches(stamp: Path, value: str) -> bool:
    """Return whether the stamp file holds this hash."""
    try:
        return stamp.read_text(encoding="utf-8") == value
    except FileNotFoundError:
        return False
