"""The local engine: one process that emulates AWS, on loopback only."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.engine_access import DOOR_VARIABLE, LOOPBACK, EngineAccess, is_taken
from gatehouse_cli.local.engine_folders import BUILT_VARIABLE
from gatehouse_cli.local.folder import LocalFolder

READY_WITHIN = 30.0
# The engine writes its state while it shuts down; an open socket delays that by up to 20 s.
STOPPED_WITHIN = 30.0


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    access: EngineAccess
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        """The URL of every AWS service."""
        return self.access.endpoint

    def check(self) -> None:
        """Raise CommandError when the engine has exited."""
        code = self.process.poll()
        if code is not None:
            raise CommandError(f"The engine exited with code {code}: see the end of {self.log}.")


@contextmanager
def running(
    python: Path, home: LocalFolder, *, access: EngineAccess, built: Path, enforce_iam: bool
) -> Iterator[Engine]:
    """Run the engine on a folder's state during the block; it saves its state at the end.

    `built` is the folder of `sam build`: functions use its files as long as they are the same.

    Raises:
        CommandError: The port is in use, or the engine does not start.

    """
    _refuse_taken(access.port)
    _reset_stream_positions(home.state / "lambda.json")
    log = home.logs / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # Our own tool, by its full path.
            [str(python), str(Path(__file__).with_name("engine_main.py"))],
            env=_environment(home, access, enforce_iam=enforce_iam) | {BUILT_VARIABLE: str(built)},
            cwd=home.scratch,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            umask=0o077,
            # Ctrl-C signals the foreground group, but the engine must outlive the front door.
            start_new_session=True,
        )
    engine = Engine(access=access, log=log, process=process)
    try:
        _await_ready(engine)
        yield engine
    finally:
        _stop(process)
        # Functions' code and layers are unpacked there; nothing needs them now.
        shutil.rmtree(home.scratch, ignore_errors=True)


def _environment(home: LocalFolder, access: EngineAccess, *, enforce_iam: bool) -> dict[str, str]:
    """Return the engine's whole environment, which every function inherits.

    It contains nothing of the developer's: no credentials, no profile, no PYTHONPATH. The engine
    itself replaces the root account's credentials by those of the function's role.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home.scratch),
        "LANG": "C.UTF-8",
        "TMPDIR": str(home.scratch),
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(access.port),
        "AWS_ACCESS_KEY_ID": access.key_id,
        "AWS_SECRET_ACCESS_KEY": access.secret,
        DOOR_VARIABLE: access.door,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(home.state),
        "AUTH": "true" if enforce_iam else "false",
        # Both would listen on every interface and ignore BIND_HOST.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Functions run as processes, even where Docker is installed.
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": f"unix://{home.scratch / 'no-docker.sock'}",
    }


def _refuse_taken(port: int) -> None:
    if is_taken(port):
        raise CommandError(
            f"Port {port} is in use: stop the program that listens there, or choose another "
            "port for the engine with --engine-port."
        )


def _await_ready(engine: Engine) -> None:
    deadline = time.monotonic() + READY_WITHIN
    url = f"{engine.endpoint}/_ministack/ready"
    with httpx.Client(trust_env=False, timeout=2) as client:
        while time.monotonic() < deadline:
            engine.check()
            with suppress(httpx.TransportError):
                if client.get(url, headers=engine.access.door_headers).is_success:
                    return
            time.sleep(0.05)
    raise CommandError(f"The engine was not ready within {READY_WITHIN:.0f} s: see {engine.log}.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the engine with SIGTERM, by SIGKILL if it hangs, and kill the processes it started.

    Without the engine, the processes of functions can neither read nor write anything.
    """
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError, PermissionError):  # macOS: only zombies are left
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()


def _reset_stream_positions(lambda_state: Path) -> None:
    """Set the saved stream positions to the start.

    The engine saves positions but not records. After a restart its streams begin at 0, and a
    reader at an old position would skip every record up to there.
    """
    try:
        saved = json.loads(lambda_state.read_bytes())
    except FileNotFoundError:
        return
    positions = saved.get("payload", saved).get("dynamodb_stream_positions", {})
    if _reset(positions):
        draft = lambda_state.with_suffix(".draft")
        draft.write_text(json.dumps(saved), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(lambda_state)


def _reset(positions: dict[str, Any]) -> bool:
    """Set every nested position to 0 in place; return whether any changed."""
    changed = False
    for key, value in positions.items():
        if isinstance(value, dict):
            changed = _reset(value) or changed
        elif isinstance(value, int) and not isinstance(value, bool) and value:
            positions[key] = 0
            changed = True
    return changed
