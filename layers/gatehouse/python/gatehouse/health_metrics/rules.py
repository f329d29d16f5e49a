"""What a batch of the table's stream means for the counters. Pure.

A record says what an item was and what it is. A total moves by the difference, so it is the number
of items that are stored in that state, however they came there or went.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gatehouse.core.clock import DAY, MINUTE, Micros
from gatehouse.deliveries.model import Status
from gatehouse.dynamo.attributes import unmarshal
from gatehouse.health_metrics.model import (
    ACKED,
    DEAD_LETTER,
    DELIVERED,
    PENDING,
    TOTALS,
    Portion,
    Sums,
)
from gatehouse.signals.model import PING, TaskStatus

Record = Mapping[str, Any]

# A transaction holds a hundred writes, of which one moves the position.
MOST_ITEMS = 99
MINUTES_AN_HOUR = 60
MINUTES_A_DAY = DAY // MINUTE

_SEQUENCE_DIGITS = 40  # the longest that DynamoDB documents
_STATES = {
    Status.PENDING: PENDING,
    Status.RETRYING: PENDING,
    Status.DELIVERED: DELIVERED,
    Status.DEAD_LETTER: DEAD_LETTER,
}
# The rest of an item is not read: it may be large, and is nothing to the counters.
_READ = ("account_id", "status", "task_status", "type", "created_at")


def portions(
    records: Iterable[Record], *, after: str | None, most: int = MOST_ITEMS
) -> Iterator[Portion]:
    """Fold records into sums, in the order of the stream; each portion changes `most` items.

    `after` is the position that was reached before: what lies at or below it was counted. Records
    that change nothing move no position, since they may come again without harm.
    """
    sums: dict[str, Sums] = {}
    items: set[tuple[str, int | None]] = set()
    reached = upto = after or ""
    for record in records:
        sequence = _sequence(record)
        if sequence <= reached:
            continue
        reached = sequence
        found = change_of(record)
        if found is None:
            continue
        account_id, change = found
        touched = {(account_id, item) for item in _items(change)}
        if sums and len(items | touched) > most:
            yield Portion(upto, sums)
            sums, items = {}, set()
        items |= touched
        before = sums.setdefault(account_id, Sums())
        before.totals.update(change.totals)
        before.minutes.update(change.minutes)
        upto = sequence
    if sums:
        yield Portion(upto, sums)


def change_of(record: Record) -> tuple[str, Sums] | None:
    """Name the account that a record concerns and what it changes there; None for nothing."""
    stream = record["dynamodb"]
    keys = unmarshal(stream["Keys"])
    old, new = _image(stream.get("OldImage")), _image(stream.get("NewImage"))
    kind, _, rest = keys["pk"].partition("#")
    change = Sums()
    if kind == "SIGNAL":
        account_id = rest.partition("#")[0]
        _move(change, _acknowledged(old), _acknowledged(new))
        if not old and new["type"] != PING:
            change.minutes[new["created_at"] // MINUTE] += 1
    elif kind == "DELIVERY" and keys["sk"] == "DELIVERY":
        account_id = (new or old)["account_id"]
        _move(change, _state(old), _state(new))
    else:
        return None
    return (account_id, change) if change.totals or change.minutes else None


def by_hour(minutes: Mapping[int, int]) -> dict[int, dict[int, int]]:
    """Arrange minutes by the hour, numbered since the epoch: hour → minute of it → count."""
    found: dict[int, dict[int, int]] = {}
    for minute, count in minutes.items():
        hour, rest = divmod(minute, MINUTES_AN_HOUR)
        found.setdefault(hour, {})[rest] = count
    return found


def volume(minutes: Mapping[int, int], *, now: Micros) -> int:
    """Sum the last 24 hours, to the minute: what is older than that is never in it."""
    last = now // MINUTE
    return sum(count for minute, count in minutes.items() if last - MINUTES_A_DAY < minute <= last)


def totals(counted: Mapping[str, int]) -> dict[str, int]:
    """Give each total its number; one that was never moved is zero, and none is below."""
    return {name: max(0, counted.get(name, 0)) for name in TOTALS}


def _sequence(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"]).zfill(_SEQUENCE_DIGITS)


def _image(image: Mapping[str, Any] | None) -> dict[str, Any]:
    return unmarshal({name: image[name] for name in _READ if name in image}) if image else {}


def _state(delivery: Mapping[str, Any]) -> str | None:
    return _STATES[Status(delivery["status"])] if delivery else None


def _acknowledged(signal: Mapping[str, Any]) -> str | None:
    return ACKED if signal.get("task_status") == TaskStatus.ACKED else None


def _move(change: Sums, was: str | None, is_now: str | None) -> None:
    if was == is_now:
        return
    if was is not None:
        change.totals[was] -= 1
    if is_now is not None:
        change.totals[is_now] += 1


def _items(change: Sums) -> list[int | None]:
    """Name the counter items that a change touches: hours, and None for the totals."""
    touched: list[int | None] = [minute // MINUTES_AN_HOUR for minute in change.minutes]
    return [None, *touched] if change.totals else touched
