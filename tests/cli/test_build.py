"""The arguments of a build, and the place of its cache."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatehouse_cli import samconfig
from gatehouse_cli.errors import CommandError
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder
from gatehouse_cli.local.sam import Sam
from gatehouse_cli.main import cli
from support.worlds import cloud_stack

ENGINE = EngineAccess(port=1, key_id="GH1", secret="s", door="d")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "target.mk").write_text("one")
    return tmp_path


def cache_of(project: Path, target: dict[str, str]) -> str:
    words = samconfig.build_words(project, target)
    return words[words.index("--cache-dir") + 1]


def test_the_built_template_is_in_the_build_folder(project: Path) -> None:
    target = samconfig.layer_target(project, "python3.13", "arm64")
    words = samconfig.build_words(project, target)

    folder = Path(words[words.index("--build-dir") + 1])
    assert samconfig.built_template(project, target).parent == folder


def test_each_runtime_and_architecture_has_its_own_build_cache(project: Path) -> None:
    targets = [
        samconfig.layer_target(project, runtime, architecture)
        for runtime in ("python3.11", "python3.13")
        for architecture in ("host", "arm64", "x86_64")
    ]

    assert len({cache_of(project, target) for target in targets}) == len(targets)


def test_a_changed_target_mk_uses_a_new_build_cache(project: Path) -> None:
    target = samconfig.layer_target(project, "python3.13", "arm64")
    before = cache_of(project, target)

    (project / "layers" / "target.mk").write_text("two")

    assert cache_of(project, target) != before


@pytest.fixture
def clone(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose SAM only records its arguments, and fails on request."""
    (project / "template.yaml").write_text("Parameters: {}\n")
    (project / "samconfig.toml").write_text(
        """
        [dev.global.parameters]
        stack_name = "gatehouse-dev"
        [dev.deploy.parameters]
        parameter_overrides = ["PythonRuntime=python3.12", "Architecture=x86_64", "A=b=c"]
        """
    )
    sam = project / ".gatehouse" / "tools" / "sam" / "bin" / "sam"
    sam.parent.mkdir(parents=True)
    sam.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "with open('called', 'a') as file:\n"
        "    env = {k: v for k, v in os.environ.items() if k.startswith('GATEHOUSE_')}\n"
        "    file.write(json.dumps([sys.argv[1:], env]) + chr(10))\n"
        "sys.exit(os.path.exists('fail'))\n"
    )
    sam.chmod(0o700)
    monkeypatch.chdir(project)
    return project


def calls(clone: Path) -> list[tuple[list[str], dict[str, str]]]:
    return [tuple(json.loads(line)) for line in (clone / "called").read_text().splitlines()]


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the stack of the place `dev` in an AWS account in memory."""
    with cloud_stack.account(monkeypatch):
        cloud_stack.create_stack("gatehouse-dev")
        yield


@pytest.mark.usefixtures("deployed")
def test_deploy_builds_and_deploys_with_all_parameters_of_the_place(clone: Path) -> None:
    result = CliRunner().invoke(cli, ["deploy", "--place", "dev"])

    assert result.exit_code == 0, result.output
    (build, built_for), (deploy, _) = calls(clone)
    assert (build[0], deploy[0]) == ("build", "deploy")
    assert built_for["GATEHOUSE_RUNTIME"] == "python3.12"
    assert built_for["GATEHOUSE_ARCHITECTURE"] == "x86_64"
    folder = build[build.index("--build-dir") + 1]
    assert deploy[deploy.index("--template-file") + 1] == f"{folder}/template.yaml"
    assert deploy[-4:] == ["--config-file", str(clone / "samconfig.toml"), "--config-env", "dev"]
    given = deploy[deploy.index("--parameter-overrides") + 1 : -4]
    assert given[:3] == ["PythonRuntime=python3.12", "Architecture=x86_64", "A=b=c"]
    assert re.fullmatch(r"DeployedAt=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", given[3])


@pytest.mark.usefixtures("deployed")
def test_a_failed_build_is_not_deployed(clone: Path) -> None:
    (clone / "fail").touch()

    result = CliRunner().invoke(cli, ["deploy"])

    assert result.exit_code == 1
    assert result.output.endswith("Error: sam build failed with code 1.\n")
    assert len(calls(clone)) == 1


def test_a_failed_local_build_reports_sams_error_and_its_log_file(
    clone: Path, tmp_path: Path
) -> None:
    sam = clone / ".gatehouse" / "tools" / "sam" / "bin" / "sam"
    sam.write_text("#!/bin/sh\necho Building\necho 'Error: no wheel'\nexit 1\n")
    home = LocalFolder(tmp_path / "home")
    home.prepare()

    with pytest.raises(
        CommandError, match=r"^sam build failed: no wheel \(complete output: .*\)\.$"
    ):
        Sam(clone, home, ENGINE).build()


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's default handler for SIGINT: a worker of the test runner ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_build_stops_the_processes_of_sam(clone: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sam = clone / ".gatehouse" / "tools" / "sam" / "bin" / "sam"
    # Every process that it starts holds the pipe open. The interrupt arrives while we wait for it.
    sam.write_text(
        f"#!/bin/sh\nexec 3>{pipe}\nsleep 60 &\necho up >&3\nsleep 1\nkill -INT $PPID\nwait\n"
    )
    home = LocalFolder(tmp_path / "home")
    home.prepare()

    with pytest.raises(KeyboardInterrupt):
        Sam(clone, home, ENGINE).build()

    assert os.read(reader, 9) == b"up\n"
    deadline = time.monotonic() + 5
    while is_held(reader) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_held(reader)
    os.close(reader)


def is_held(reader: int) -> bool:
    """Return whether a process holds the other end of the pipe open."""
    try:
        return os.read(reader, 1) != b""
    except BlockingIOError:
        return True


def test_a_local_build_never_sees_the_developers_aws_account(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "SAM_CLI_DEBUG"):
        monkeypatch.setenv(name, "mine")
    sam = clone / ".gatehouse" / "tools" / "sam" / "bin" / "sam"
    sam.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\n")
    home = LocalFolder(tmp_path / "home")
    home.prepare()

    Sam(clone, home, ENGINE).build()

    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert "mine" not in seen.values()
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert seen["AWS_ACCESS_KEY_ID"] == "GH1"
    assert seen["SAM_CLI_TELEMETRY"] == "0"
    assert seen["GATEHOUSE_ARCHITECTURE"] == "host"


def test_a_second_stack_of_the_clone_waits_until_the_first_is_deployed(
    clone: Path, tmp_path: Path
) -> None:
    """A build empties the folder that the other stack is still uploading from."""
    first, second = (Sam(clone, LocalFolder(tmp_path / name), ENGINE) for name in ("1", "2"))
    order = []

    def deploy_second() -> None:
        with second.alone():
            order.append("second")

    waiting = threading.Thread(target=deploy_second)
    with first.alone():
        waiting.start()
        time.sleep(0.1)
        order.append("first")
    waiting.join(5)

    assert order == ["first", "second"]
