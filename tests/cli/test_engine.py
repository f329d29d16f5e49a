"""The engine's environment, and the errors when it does not start or stop."""

import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from gatehouse_cli.errors import CommandError
from gatehouse_cli.local import engine
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder


@pytest.fixture
def home(tmp_path: Path) -> LocalFolder:
    home = LocalFolder(tmp_path)
    home.prepare()
    return home


def access_to(port: int | None = None) -> EngineAccess:
    """Return made-up secrets, and a free port unless one is passed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    return EngineAccess(port=port or free, key_id="GH1", secret="s", door="door secret")


def stand_in(tmp_path: Path, script: str) -> Path:
    """Return a program that replaces the engine's Python."""
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o700)
    return path


READY = """
import http.server, json, os, signal, sys, threading
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["GATEWAY_PORT"])), Ready)
def end(*_):
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, end)
os.chdir(os.environ["STATE_DIR"])
with open("seen.json", "w") as seen:
    json.dump(dict(os.environ), seen)
server.serve_forever()
open("ended", "w").close()
"""


def test_a_port_in_use_reports_one_clear_sentence(home: LocalFolder) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with (
            pytest.raises(CommandError, match=rf"^Port {port} is in use: .* with --engine-port\.$"),
            engine.running(
                Path(sys.executable),
                home,
                access=access_to(port),
                built=home.root,
                enforce_iam=True,
            ),
        ):
            pass


def test_an_engine_that_exits_at_once_reports_one_clear_sentence(
    home: LocalFolder, tmp_path: Path
) -> None:
    python = stand_in(tmp_path, "import sys; sys.exit(3)")

    with (
        pytest.raises(CommandError, match=r"^The engine exited with code 3: .*engine\.log\.$"),
        engine.running(python, home, access=access_to(), built=home.root, enforce_iam=True),
    ):
        pass


def test_an_engine_that_never_gets_ready_is_stopped(
    home: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "READY_WITHIN", 0.3)
    python = stand_in(tmp_path, "import time; time.sleep(60)")

    with (
        pytest.raises(CommandError, match="not ready within"),
        engine.running(python, home, access=access_to(), built=home.root, enforce_iam=True),
    ):
        pass


def test_an_engine_that_does_not_stop_is_killed(
    home: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "STOPPED_WITHIN", 0.3)
    python = stand_in(tmp_path, READY.replace("def end(*_):", "def end(*_):\n    return"))

    with engine.running(
        python, home, access=access_to(), built=home.root, enforce_iam=True
    ) as running:
        pass

    assert running.process.returncode == -9


def test_the_engine_inherits_nothing_of_the_developers_environment(
    home: LocalFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    python = stand_in(tmp_path, READY)
    access = access_to()

    with engine.running(python, home, access=access, built=home.root, enforce_iam=True) as running:
        running.check()

    seen = json.loads((home.state / "seen.json").read_text())
    assert "AWS_PROFILE" not in seen
    assert "PYTHONPATH" not in seen
    assert seen["BIND_HOST"] == "127.0.0.1"
    assert seen["GATEWAY_PORT"] == str(access.port)
    assert seen["AUTH"] == "true"
    assert (seen["AWS_ACCESS_KEY_ID"], seen["AWS_SECRET_ACCESS_KEY"]) == ("GH1", "s")
    assert seen["IOT_MTLS_ENABLED"] == "0"
    assert seen["STATE_DIR"] == str(home.state)
    assert seen["TMPDIR"] == str(home.scratch)
    assert (home.state / "ended").exists(), "it was not let end in order"
    assert not home.scratch.exists()


def test_the_processes_of_functions_end_with_the_engine(home: LocalFolder, tmp_path: Path) -> None:
    os.mkfifo(home.state / "alive")
    alive = os.open(home.state / "alive", os.O_RDONLY | os.O_NONBLOCK)
    child = "import subprocess\nsubprocess.Popen(['sleep', '60'], stdout=open('alive', 'w'))\n"
    python = stand_in(
        tmp_path, READY.replace("server.serve_forever()", f"{child}server.serve_forever()")
    )

    with engine.running(python, home, access=access_to(), built=home.root, enforce_iam=True):
        began = time.monotonic()

    os.set_blocking(alive, True)
    assert os.read(alive, 1) == b""  # the child has ended, which held the other end
    assert time.monotonic() - began < 30
    os.close(alive)


def test_an_engine_that_exits_later_raises_an_error(home: LocalFolder, tmp_path: Path) -> None:
    python = stand_in(tmp_path, READY)

    with engine.running(
        python, home, access=access_to(), built=home.root, enforce_iam=False
    ) as running:
        running.process.kill()
        running.process.wait()

        with pytest.raises(CommandError, match="exited with code -9"):
            running.check()


def test_stream_positions_are_reset_and_other_state_is_kept(
    home: LocalFolder, tmp_path: Path
) -> None:
    def state(position: int) -> dict[str, object]:
        return {
            "__ministack_format__": 2,
            "payload": {
                "functions": {"position": 7},
                "dynamodb_stream_positions": {
                    "__account_region_scoped__": True,
                    "data": {"000000000000\0us-east-1\0'esm-1'": position},
                },
            },
        }

    saved = home.state / "lambda.json"
    saved.write_text(json.dumps(state(41)))

    with engine.running(
        stand_in(tmp_path, READY), home, access=access_to(), built=home.root, enforce_iam=True
    ):
        pass

    assert json.loads(saved.read_text()) == state(0)
    assert saved.stat().st_mode & 0o777 == 0o600
