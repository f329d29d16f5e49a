"""Runs the engine for as long as its starter lives. Run by the engine's own Python.

The starter holds the other end of standard input and never writes to it. However the starter
ends, even killed outright, the end of that stream ends the engine in order, state saved.
"""

import os
import runpy
import signal
import threading


def _end_with_starter() -> None:
    # Not sys.stdin: its lock, held by a thread, aborts the interpreter on its way out.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    runpy.run_module("ministack", run_name="__main__")
