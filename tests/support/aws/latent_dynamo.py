"""A table in memory behind a clock of its own: latencies, and items that a transaction locks.

Threads take turns: one runs at a time, until it sleeps or waits for the table. So a test of many
callers is as exact as its clock, and takes only the time that it computes.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from support.aws.memory_dynamo import client_error

# Seconds, about what DynamoDB takes. A transaction locks its items for a part of it.
LATENCIES = {
    "get_item": 0.004,
    "query": 0.005,
    "batch_get_item": 0.005,
    "put_item": 0.006,
    "update_item": 0.006,
    "transact_write_items": 0.008,
}
LOCKED = 0.008

Place = tuple[str, str, str]


class Turns:
    """A clock in seconds, and the threads that wait for a time of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._numbers = itertools.count()
        self._done = threading.Event()
        self._errors: list[BaseException] = []

    def sleep(self, seconds: float) -> None:
        """Let the others run until this time has passed."""
        turn = self._queue(seconds)
        self._next()
        turn.wait()

    def run(self, acts: Sequence[Callable[[], None]]) -> None:
        """Run these at once, each in a thread, until all are done. Raises their first error."""
        threads = [threading.Thread(target=self._act, args=(act,)) for act in acts]
        for thread in threads:
            thread.turn = self._queue(0.0)  # type: ignore[attr-defined]
            thread.start()
        self._next()
        self._done.wait()
        for thread in threads:
            thread.join()
        for error in self._errors:
            raise error

    def _act(self, act: Callable[[], None]) -> None:
        threading.current_thread().turn.wait()  # type: ignore[attr-defined]
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - raised in `run`
            self._errors.append(error)
        self._next()

    def _queue(self, seconds: float) -> threading.Event:
        turn = threading.Event()
        heapq.heappush(self._waiting, (self.now + seconds, next(self._numbers), turn))
        return turn

    def _next(self) -> None:
        if not self._waiting:
            self._done.set()
            return
        self.now, _, turn = heapq.heappop(self._waiting)
        turn.set()


@contextmanager
def latent(client: Any, turns: Turns) -> Iterator[None]:
    """Give a client of the table in memory latencies and locks by this clock."""
    locked: set[Place] = set()

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(**request: Any) -> Any:
            turns.sleep(LATENCIES[name] / 2)
            if name == "transact_write_items":
                answer = _transact(real, request, locked, turns)
            elif name in {"put_item", "update_item"} and _place(request) in locked:
                raise client_error(name, "TransactionConflictException")
            else:
                answer = real(**request)
            turns.sleep(LATENCIES[name] / 2)
            return answer

        return operation

    with pytest.MonkeyPatch.context() as patch:
        for name in LATENCIES:
            patch.setattr(client, name, wrapped(name, getattr(client, name)))
        yield


def _transact(
    real: Callable[..., Any], request: Mapping[str, Any], locked: set[Place], turns: Turns
) -> Any:
    places = [_place(next(iter(item.values()))) for item in request["TransactItems"]]
    if locked.intersection(places):
        reasons = [
            {"Code": "TransactionConflict" if place in locked else "None"} for place in places
        ]
        raise client_error(
            "TransactWriteItems", "TransactionCanceledException", CancellationReasons=reasons
        )
    locked.update(places)
    try:
        turns.sleep(LOCKED)
        return real(**request)
    finally:
        locked.difference_update(places)


def _place(write: Mapping[str, Any]) -> Place:
    item = write.get("Item") or write["Key"]
    return write["TableName"], item["pk"]["S"], item.get("sk", {"S": ""})["S"]
