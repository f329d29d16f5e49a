"""A clock that moves only when every thread waits: hours of a program in the time it computes.

Actors are real threads, so that blocking code runs unchanged. One actor runs at a time, until it
sleeps or waits; then the actor with the earliest time runs. The order depends on nothing but the
program and the seed. What is called outside an actor takes no time.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from gatehouse.core.clock import SECOND, Micros


class Stopped(BaseException):
    """Ends an actor after the run; no `except Exception` catches it."""


class Stuck(AssertionError):
    """Every actor waits for another one, and those that the run waits for are not done."""


class Actor:
    """One thread of a run."""

    def __init__(self, act: Callable[[], Any], name: str) -> None:
        self.name = name
        self.done = False
        self.ended: Waiting | None = None  # created by whoever joins
        self.act = act
        self.turn = 0  # which of its waits is the present one
        self.woken = False  # whether that wait ended before its time
        self.baton = allocate_lock()
        self.baton.acquire()


class VirtualTime:
    """The clock in microseconds, and the actors that wait for a time of it."""

    def __init__(self, start: Micros = 0, seed: int = 0) -> None:
        self.now: Micros = start
        self.rng = random.Random(seed)  # noqa: S311 - repeatable
        self._turns: list[tuple[Micros, int, Actor, int]] = []
        self._numbers = itertools.count()
        self._local = threading.local()
        self._actors: set[Actor] = set()
        self._awaited: set[Actor] = set()
        self._over = allocate_lock()
        self._over.acquire()
        self._until: Micros | None = None
        self._stopping = False
        self._errors: list[BaseException] = []

    @property
    def actor(self) -> Actor | None:
        """The actor that calls this, None outside of a run."""
        return getattr(self._local, "actor", None)

    @property
    def seconds(self) -> float:
        """The clock in seconds."""
        return self.now / SECOND

    def sleep(self, seconds: float) -> None:
        """Let the others run until this time has passed."""
        actor = self.actor
        if actor is not None:
            self._queue(actor, self.now + round(max(0.0, seconds) * SECOND))
            self._hand_over(actor)

    def spawn(
        self, act: Callable[[], Any], name: str = "actor", *, at: Micros | None = None
    ) -> Actor:
        """Start an actor, now or at a time. An error in it ends the run."""
        actor = Actor(act, name)
        self._actors.add(actor)
        thread = threading.Thread(target=self._live, args=(actor,), name=name, daemon=True)
        thread.start()
        self._queue(actor, self.now if at is None else max(at, self.now))
        return actor

    def run(self, *acts: Callable[[], Any], until: Micros | None = None) -> None:
        """Run these together until all are done, or until a time, and stop every other actor.

        Raises the first error of an actor, and Stuck.
        """
        self._until = until
        self._awaited = {self.spawn(act) for act in acts}
        self._pass_on()
        self._over.acquire()
        self._stop()
        errors, self._errors = self._errors, []
        for error in errors:
            raise error

    def join(self, actor: Actor, timeout: float | None = None) -> None:
        """Wait until an actor is done."""
        if actor.done or self.actor is None:
            return
        if actor.ended is None:
            actor.ended = Waiting(self)
        actor.ended.wait(timeout)

    # ---- For `Waiting`

    def block(self, timeout: float | None) -> bool:
        """Wait until `wake` or the timeout; False after the timeout."""
        actor = self.actor
        assert actor is not None, "only an actor can wait"
        actor.turn += 1
        actor.woken = False
        if timeout is not None:
            at = self.now + round(max(0.0, timeout) * SECOND)
            heapq.heappush(self._turns, (at, next(self._numbers), actor, actor.turn))
        self._hand_over(actor)
        return actor.woken

    def wake(self, actor: Actor) -> None:
        """Let an actor that blocks run on at this time."""
        self._queue(actor, self.now)
        actor.woken = True

    # ---- The baton

    def _queue(self, actor: Actor, at: Micros) -> None:
        actor.turn += 1
        heapq.heappush(self._turns, (at, next(self._numbers), actor, actor.turn))

    def _hand_over(self, actor: Actor) -> None:
        if self._stopping:
            raise Stopped
        if self._next_is(actor):
            return
        self._pass_on()
        actor.baton.acquire()
        if self._stopping:
            raise Stopped

    def _next_is(self, actor: Actor) -> bool:
        """Whether the actor that hands over is the next one: then no thread has to change."""
        self._drop_stale()
        if not self._turns or self._turns[0][2] is not actor or self._is_late(self._turns[0][0]):
            return False
        self.now = heapq.heappop(self._turns)[0]
        return True

    def _drop_stale(self) -> None:
        while self._turns and self._turns[0][3] != self._turns[0][2].turn:
            heapq.heappop(self._turns)

    def _is_late(self, at: Micros) -> bool:
        return self._until is not None and at > self._until

    def _pass_on(self) -> None:
        self._drop_stale()
        if not self._turns or self._is_late(self._turns[0][0]):
            if self._until is None and self._awaited:
                self._errors.append(Stuck([actor.name for actor in self._awaited]))
            self.now = self.now if self._until is None else max(self.now, self._until)
            self._over.release()
            return
        self.now, _, actor, _ = heapq.heappop(self._turns)
        actor.baton.release()

    def _live(self, actor: Actor) -> None:
        actor.baton.acquire()
        self._local.actor = actor
        try:
            if not self._stopping:
                actor.act()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in `run`
            self._errors.append(error)
        actor.done = True
        self._actors.discard(actor)
        self._awaited.discard(actor)
        if self._stopping:
            self._over.release()
            return
        if actor.ended is not None:
            actor.ended.notify_all()
        if self._errors or (not self._awaited and self._until is None):
            self._over.release()
        else:
            self._pass_on()

    def _stop(self) -> None:
        self._stopping = True
        while self._actors:
            next(iter(self._actors)).baton.release()
            self._over.acquire()
        self._turns.clear()
        self._stopping = False


class Waiting:
    """A condition variable of virtual time. It needs no lock: nothing else runs meanwhile."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._actors: deque[Actor] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; False after the timeout, in seconds."""
        actor = self._time.actor
        self._actors.append(actor)  # type: ignore[arg-type]
        if self._time.block(timeout):
            return True
        self._actors.remove(actor)  # type: ignore[arg-type]
        return False

    def notify(self, n: int = 1) -> None:
        """Let the first of those that wait run on."""
        for _ in range(min(n, len(self._actors))):
            self._time.wake(self._actors.popleft())

    def notify_all(self) -> None:
        """Let all that wait run on."""
        self.notify(len(self._actors))

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
