"""Run the engine as long as its parent process lives. Executed by the engine's own Python.

The parent holds the other end of standard input and never writes to it. When the parent exits,
even by SIGKILL, that stream ends; then the engine saves its state and exits.
"""

import os
import runpy
import signal
import threading


def _exit_with_parent() -> None:
    # Not sys.stdin: a thread that holds its lock would abort the interpreter at exit.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    runpy.run_module("ministack", run_name="__main__")
