"""Runs code that sleeps, reads the time and uses thread pools in virtual time, unchanged."""

from __future__ import annotations

import functools
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
from types import ModuleType, SimpleNamespace
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


class _Lock:
    """`threading.Lock` of virtual time. Outside of a run it is free."""

    def __init__(self, virtual: VirtualTime) -> None:
        self._virtual, self._held, self._freed = virtual, False, Waiting(virtual)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        while self._held and self._virtual.actor is not None:
            if not blocking or not self._freed.wait(None if timeout < 0 else timeout):
                return False
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        self._freed.notify()

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


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

    Random numbers (jitter of retries) depend on the seed. What our modules cache is forgotten
    before and after: a pool or a lock belongs to one clock.
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
        for module in _our_modules():
            if vars(module).get("time") is time:
                patch.setattr(module, "time", clock)
            if vars(module).get("Lock") is threading.Lock:
                patch.setattr(module, "Lock", bound(_Lock))
            for made in list(vars(module).values()):
                if isinstance(made, type) and made.__module__ == module.__name__:
                    _make_locks(made, bound(_Lock), patch)
        patch.setattr(_base, "threading", threads)
        patch.setattr(pools, "threading", threads)
        patch.setattr(
            pools,
            "queue",
            SimpleNamespace(SimpleQueue=bound(_SimpleQueue), Empty=queue.Empty),
        )
        patch.setattr(quiet, "disabled", True)
        random.seed(seed)
        _forget_cached()
        try:
            yield
        finally:
            random.setstate(state)
    _forget_cached()


def _our_modules() -> list[ModuleType]:
    return [one for one in list(sys.modules.values()) if one.__name__.startswith(OURS)]


def _forget_cached() -> None:
    for module in _our_modules():
        for made in vars(module).values():
            if isinstance(made, functools._lru_cache_wrapper):  # noqa: SLF001 - its only name
                made.cache_clear()


def _make_locks(owner: type, lock: Callable[[], _Lock], patch: pytest.MonkeyPatch) -> None:
    """Let a data class with locks make them of virtual time."""
    fields = getattr(owner, "__dataclass_fields__", {})
    names = [name for name, one in fields.items() if one.default_factory is threading.Lock]
    if not names:
        return
    real = owner.__init__  # type: ignore[misc]

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        for name in names:
            object.__setattr__(self, name, lock())

    patch.setattr(owner, "__init__", init)
