"""Where the engine of one stack listens, and the secrets without which it refuses a request."""

import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
# With this header and the secret as its value, the front door forwards a request to a stage.
DOOR_HEADER = "x-gatehouse-door"
# The variable in which the engine's process receives that secret; it hides it from functions.
DOOR_VARIABLE = "GATEHOUSE_ENGINE_DOOR"


@dataclass(frozen=True)
class EngineAccess:
    """The engine's port, the access key of its root account, and the front door's secret."""

    port: int
    key_id: str
    secret: str
    door: str

    @property
    def endpoint(self) -> str:
        """The URL of every AWS service."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def door_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers with which a request to a stage needs no signature."""
        return [(DOOR_HEADER.encode(), self.door.encode())]


def choose(file: Path, *, port: int | None) -> EngineAccess:
    """Return the access of this start, and store it in `file` for the next one.

    The secrets stay the same as long as the file exists. So does the port, which deployed
    functions know: without `port`, the stored one is used if it is free, else any free port.
    """
    stored = find(file)
    if port is None:
        port = stored.port if stored and not is_taken(stored.port) else _free_port()
    access = EngineAccess(
        port=port,
        key_id=stored.key_id if stored else f"GH{secrets.token_hex(9).upper()}",
        secret=stored.secret if stored else secrets.token_hex(20),
        door=stored.door if stored else secrets.token_hex(20),
    )
    if access != stored:
        _write(file, access)
    return access


def find(file: Path) -> EngineAccess | None:
    """Return the stored access, None when the file does not exist."""
    try:
        return EngineAccess(**json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None


def is_taken(port: int) -> bool:
    """Return whether a program listens on this port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _write(file: Path, access: EngineAccess) -> None:
    draft = file.with_name(f"{file.name}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        json.dump(asdict(access), output)
    draft.replace(file)
