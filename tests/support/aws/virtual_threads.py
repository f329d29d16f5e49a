"""Runs code that sleeps, reads the time and uses thread pools in virtual time, unchanged."""

from __future__ import annotations

import logging
import queue
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import _base
from concurrent.futures import thread as pools
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from support.aws.virtual_time import Actor, VirtualTime, Waiting

OURS = ("gatehouse.", "functions_")


class _Thread:
    """An actor with the interface of `threading.Thread`, as far as thread pools use it."""

    def __init__(
        self,
        virtual: VirtualTime,
        *,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        name: str = "thread",
    ) -> None:
        self._virtual, self._act, self._name = virtual, lambda: target(*args), name
        self._actor: Actor | None = None

    def start(self) -> None:
        self._actor = self._virtual.spawn(self._act, self._name)

    def join(self, timeout: float | None = None) -> None:
        assert self._actor is not None
        self._virtual.join(self._actor, timeout)


class _SimpleQueue:
    """`queue.SimpleQueue`, as far as thread pools use it."""

    def __init__(self, virtual: VirtualTime) -> None:
        self._held: deque[Any] = deque()
        self._filled = Waiting(virtual)

    def put(self, value: Any) -> None:
        self._held.append(value)
        self._filled.notify()

    def get(self, block: bool = True) -> Any:  # noqa: FBT001, FBT002 - as the library's
        while block and not self._held:
            self._filled.wait()
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._held:
            raise queue.Empty
        return self._held.popleft()


class _Event:
    """`threading.Event` of virtual time."""

    def __init__(self, virtual: VirtualTime) -> None:
        self._is_set, self._changed = False, Waiting(virtual)

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._changed.notify_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._is_set or self._changed.wait(timeout) or self._is_set


@contextmanager
def in_virtual_time(virtual: VirtualTime, seed: int = 0) -> Iterator[None]:
    """Give our rooms and functions, and thread pools made from now on, this clock.

    Locks stay real: nobody holds one while he waits, and only one actor runs. Random numbers
    (jitter of retries) depend on the seed.
    """

    def bound(kind: Any) -> Any:
        return lambda *args, **kwargs: kind(virtual, *args, **kwargs)

    def now() -> float:
        return virtual.seconds

    clock = SimpleNamespace(
        **{
            **vars(time),
            "sleep": virtual.sleep,
            "time": now,
            "monotonic": now,
            "perf_counter": now,
            "time_ns": lambda: virtual.now * 1_000,
        }
    )
    waiting = lambda *_: Waiting(virtual)  # noqa: E731
    threads = SimpleNamespace(
        **{
            **vars(threading),
            "Thread": bound(_Thread),
            "Event": bound(_Event),
            "Condition": waiting,
        }
    )
    state = random.getstate()
    quiet = logging.getLogger("concurrent.futures")  # it reports the actors that are stopped
    with pytest.MonkeyPatch.context() as patch:
        for module in list(sys.modules.values()):
            if module.__name__.startswith(OURS) and vars(module).get("time") is time:
                patch.setattr(module, "time", clock)
        patch.setattr(_base, "threading", threads)
        patch.setattr(pools, "threading", threads)
        patch.setattr(
            pools,
            "queue",
            SimpleNamespace(SimpleQueue=bound(_SimpleQueue), Empty=queue.Empty),
        )
        patch.setattr(quiet, "disabled", True)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
