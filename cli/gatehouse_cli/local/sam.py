"""Build and deploy with the real SAM CLI, to the local engine instead of AWS."""

import fcntl
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gatehouse_cli import samconfig, settings_keys
from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.built_files import link_copies
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.project import get_tool

REGION = "us-east-1"
# The architecture of a build for the processes of this machine, whatever its system.
HOST = "host"
STOPPED_WITHIN = 30.0
# SAM prints an error as a line that begins with its kind.
_ERROR_LINE = re.compile(rb"^(?:Error|Build Failed|.*?Error): .+", re.MULTILINE)


@dataclass(frozen=True)
class Sam:
    """The SAM CLI of one clone, for one home."""

    project: Path
    home: LocalFolder
    access: EngineAccess

    @contextmanager
    def alone(self, architecture: str = HOST) -> Iterator[None]:
        """Keep other commands in this clone from building until what was built has been used."""
        with _one_at_a_time(self.project / ".gatehouse" / f"build-{architecture}.lock"):
            yield

    def build(self, architecture: str = HOST) -> Path:
        """Build layers and functions for this host's Python; return the built template.

        `architecture` is the host's own, or one of Lambda's for its containers. Call it inside
        `alone`, and deploy there too: the build folder belongs to the clone and is shared by all
        homes.

        Raises:
            CommandError: The build failed.

        """
        target = _target(self.project, architecture)
        self._run(
            "build",
            *samconfig.build_words(self.project, target),
            "--parallel",
            "--template-file", str(self.project / "template.yaml"),
            "--parameter-overrides", *samconfig.overrides(host_parameters()),
            target=target,
        )  # fmt: skip
        template = built_template(self.project, architecture)
        cache = template.parent.with_name("cache")
        if architecture != HOST:  # Most of it is what the host's build has.
            link_copies(cache, built_template(self.project).parent.with_name("cache"))
        link_copies(template.parent, cache)
        return template

    def deploy(
        self, template: Path, stack: str, *, bucket: str, parameters: Mapping[str, str]
    ) -> None:
        """Deploy the built template and wait for it.

        Raises:
            CommandError: The deployment failed.

        """
        with settings_keys.override_words(parameters) as words:
            self._run(
                "deploy",
                "--template-file", str(template),
                "--stack-name", stack,
                "--s3-bucket", bucket,
                "--capabilities", "CAPABILITY_IAM",
                "--no-confirm-changeset",
                "--no-fail-on-empty-changeset",
                "--no-progressbar",
                *words,
            )  # fmt: skip

    def local(
        self,
        *arguments: str,
        endpoint: str,
        hidden: Collection[str],
        output: IO[bytes] | None,
        errors: IO[bytes] | None,
    ) -> int:
        """Run `sam local` until it ends; return its exit code. An interrupt ends it in order.

        SAM prefers a variable of its own environment to the template's, so names in `hidden`, which
        the template declares, are taken out. `endpoint` is the engine's as containers see it. None
        as a stream is this process's own.
        """
        own = {name: value for name, value in self._environment({}).items() if name not in hidden}
        process = subprocess.Popen(  # noqa: S603  # Our own tool, by its full path.
            [str(get_tool(self.project, "sam", "sam")), "local", *arguments],
            cwd=self.project,
            env=own | {"AWS_ENDPOINT_URL": endpoint},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            # Ctrl-C signals the foreground group. SAM gets one signal only, from here.
            start_new_session=True,
        )
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait(STOPPED_WITHIN)
            raise

    def _run(self, command: str, *arguments: str, target: Mapping[str, str] | None = None) -> None:
        program = get_tool(self.project, "sam", "sam")
        log = self.home.logs / f"{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # Our own tool, by its full path.
                [str(program), command, *arguments],
                cwd=self.project,
                env=self._environment(target or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A process group of its own, so that SAM's child processes end with it.
                start_new_session=True,
            )
        try:
            code = process.wait()
        except BaseException:
            _end_group(process)
            raise
        if code != 0:
            raise CommandError(f"sam {command} failed: {_reason(log)} (complete output: {log}).")

    def _environment(self, target: Mapping[str, str]) -> dict[str, str]:
        """Return this process's environment without its AWS account, which must not be used."""
        app = self.home.root / "sam"
        app.mkdir(exist_ok=True)
        # The version is pinned, so SAM need not look for a newer one.
        (app / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "SAM_", "GATEHOUSE_"))
        }
        return {
            **inherited,
            "__SAM_CLI_APP_DIR": str(app),
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.3",
            "NO_PROXY": "127.0.0.1,localhost",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ACCESS_KEY_ID": self.access.key_id,
            "AWS_SECRET_ACCESS_KEY": self.access.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.access.endpoint,
            **target,
        }


def built_template(project: Path, architecture: str = HOST) -> Path:
    """Return where a build puts the template, and beside it what the template names."""
    return samconfig.built_template(project, _target(project, architecture))


def _target(project: Path, architecture: str) -> dict[str, str]:
    return samconfig.layer_target(project, host_parameters()["PythonRuntime"], architecture)


def host_parameters() -> dict[str, str]:
    """Return the parameters of this host: functions run in its Python."""
    arm = platform.machine().lower() in {"arm64", "aarch64"}
    return {
        "PythonRuntime": f"python{sys.version_info.major}.{sys.version_info.minor}",
        "Architecture": "arm64" if arm else "x86_64",
    }


def _reason(log: Path) -> str:
    """Return SAM's error message, or the last line that it printed."""
    text = log.read_bytes()
    errors = _ERROR_LINE.findall(text) or text.strip().splitlines()[-1:]
    if not errors:
        return "it printed nothing"
    return errors[-1].decode(errors="replace").removeprefix("Error: ").rstrip(". ")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Stop SAM and the processes that it started."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, signal_number)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a lock file; a second holder waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
