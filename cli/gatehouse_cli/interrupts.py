"""How a command that runs until Ctrl-C ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """In the block the first SIGINT or SIGTERM raises KeyboardInterrupt; others are ignored."""
    before = {number: signal.signal(number, _interrupt) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Stop everything in order, once: a second Ctrl-C must not interrupt the end."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
