"""The processes of a simulation: seeded time, jobs that overlap, and faults at their calls."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import GatehouseError, Unavailable
from gatehouse.deliveries.model import LEASE
from gatehouse.dynamo.table import TransactionConflict
from gatehouse.outbound.client import RequestFailed
from support.aws.faults import Killed
from support.aws.memory_dynamo import client_error
from support.aws.virtual_time import Actor, VirtualTime, Waiting
from support.worlds.deliveries import START

MOST_AT_ONCE = 4  # jobs; the others wait

AttemptId = tuple[str, int]  # a delivery's id and the number of an attempt


@dataclass
class Job:
    """One invocation; `attempt` is the one that it makes, if it makes one.

    `faulty`: it began while faults were injected, which it may meet until it ends.
    """

    started_at: Micros
    attempt: AttemptId | None
    faulty: bool


@dataclass
class Message:
    """One copy of a message in the queue."""

    body: str
    slow: bool
    receives: int = 0


@dataclass
class Observed:
    """What happened: responses by attempt, bodies by delivery, and the attempts with a fault."""

    responses: dict[AttemptId, list[int | None]] = field(default_factory=lambda: defaultdict(list))
    bodies: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    disturbed: set[AttemptId] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    internal: int = 0
    slow: int = 0  # messages that the slow lane received


class SimulatedProcesses:
    """Runs jobs at their times. A call of a job may fail, freeze the process or kill it."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualTime(START)
        self.rng = random.Random(seed)  # noqa: S311 - repeatable
        self.observed = Observed()
        self.budget = self.rng.choice((0, 1, 2, 3, 5, 8))
        self._jobs: dict[Actor | None, Job] = {}
        self._workers_free = Waiting(self.clock)
        self._faulty = False

    @property
    def time(self) -> Micros:
        """The present time."""
        return self.clock.now

    def _at(self, at: Micros, act: Callable[[], None]) -> None:
        self.clock.spawn(act, at=at)

    def _soon(self) -> Micros:
        return self.time + self.rng.randrange(SECOND)

    def _pass_to(self, until: Micros) -> None:
        """Let the other processes run until a time."""
        self.clock.sleep((until - self.time) / SECOND)

    def _job(self, act: Callable[[], Any], attempt: AttemptId | None = None) -> bool:
        """Run a job in its own process; False if it failed or died."""
        while len(self._jobs) >= MOST_AT_ONCE:
            self._workers_free.wait()
        job = self._jobs[self.clock.actor] = Job(self.time, attempt, self._faulty)
        try:
            act()
        except (Killed, Unavailable, TransactionConflict):
            assert job.faulty, "a job failed without a fault"
            if attempt:
                self.observed.disturbed.add(attempt)
            return False
        except GatehouseError:
            if attempt is not None:
                raise
            return True  # an admin's request was refused
        finally:
            del self._jobs[self.clock.actor]
            self._workers_free.notify()
            if attempt and self.time - job.started_at >= LEASE:
                self.observed.disturbed.add(attempt)
        return True

    @property
    def _attempted(self) -> AttemptId | None:
        """The attempt that the present job makes."""
        job = self._jobs.get(self.clock.actor)
        return None if job is None else job.attempt

    def _strikes(self, what: str, chance: float = 0.15) -> bool:
        if not self._faulty or self.budget == 0 or self.rng.random() >= chance:
            return False
        self.budget -= 1
        self.observed.faults.append(f"{(self.time - START) / SECOND:.3f} {what}")
        return True

    def _disturb(self, what: str) -> bool:
        if self.clock.actor not in self._jobs or not self._strikes(what, 0.02):
            return False
        if self._attempted:
            self.observed.disturbed.add(self._attempted)
        return True

    def _before(self, name: str) -> None:
        if not self._faulty or not self.budget:
            return
        if self._disturb(f"dies before {name}"):
            raise Killed
        if self._disturb(f"frozen before {name}"):
            self._pass_to(self.time + self.rng.randrange(60 * SECOND))
        elif self._disturb(f"refused {name}"):
            if name == "TransactWriteItems" and self.rng.random() < 0.7:
                reasons = [{"Code": "TransactionConflict"}]
                raise client_error(
                    name, "TransactionCanceledException", CancellationReasons=reasons
                )
            if name in {"PutItem", "UpdateItem"} and self.rng.random() < 0.7:
                raise client_error(name, "TransactionConflictException")
            self._fail(name)

    def _after(self, name: str) -> None:
        if not self._faulty or not self.budget:
            return
        if self._disturb(f"dies after {name}"):
            raise Killed
        if name != "Post" and self._disturb(f"answer lost of {name}"):
            self._fail(name)

    def _fail(self, name: str) -> None:
        if name in {"Send", "Depth"}:
            raise Unavailable
        if name == "Decrypt":
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, name)
        if name != "Post":
            raise client_error(name, "ThrottlingException")
        attempt = self._attempted
        assert attempt is not None
        self.observed.responses[attempt].append(None)
        raise RequestFailed("connection")
