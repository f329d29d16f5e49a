"""Run the engine as long as its parent process lives. Executed by the engine's own Python.

The parent holds the other end of standard input and never writes to it. When the parent exits,
even by SIGKILL, that stream ends; then the engine saves its state and exits.
"""

import os
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any


def _exit_with_parent() -> None:
    # Not sys.stdin: a thread that holds its lock would abort the interpreter at exit.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _run() -> None:
    # This script's folder has files with common names, such as `template` and `logs`.
    sys.path[0] = str(Path(__file__).parents[2])
    guard = import_module("gatehouse_cli.local.engine_guard")
    access = import_module("gatehouse_cli.local.engine_access")
    folders = import_module("gatehouse_cli.local.engine_folders")
    del sys.path[0]
    # Functions inherit the environment, and must not have the front door's secret.
    door = (access.DOOR_HEADER, os.environ.pop(access.DOOR_VARIABLE))
    folders.share(import_module("ministack.core.lambda_runtime"))
    engine: Any = import_module("ministack.app")
    engine.app = guard.EngineGuard(engine.app, door=door, find_secret=guard.find_secret)
    engine.main()


if __name__ == "__main__":
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _run()
