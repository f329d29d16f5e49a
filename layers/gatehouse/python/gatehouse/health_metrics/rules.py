"""Counts the records of the table's stream. Pure.

A record has an item's old and new image. A total changes by the difference, so it always is the
number of stored items in that state, however they got into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gatehouse.core.clock import DAY, MINUTE, Micros
from gatehouse.deliveries.model import DeliveryStatus
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

# A transaction has at most a hundred writes; one of them writes the position.
MOST_ITEMS = 99
MINUTES_AN_HOUR = 60
MINUTES_A_DAY = DAY // MINUTE

_SEQUENCE_DIGITS = 40  # the longest that DynamoDB documents
_STATES = {
    DeliveryStatus.PENDING: PENDING,
    DeliveryStatus.RETRYING: PENDING,
    DeliveryStatus.DELIVERED: DELIVERED,
    DeliveryStatus.DEAD_LETTER: DEAD_LETTER,
}
# The other attributes of an item are not parsed: they may be large, and do not count.
_READ = ("account_id", "status", "task_status", "type", "created_at")


def portions(
    records: Iterable[Record], *, after: str | None, most: int = MOST_ITEMS
) -> Iterator[Portion]:
    """Sum up records in the order of the stream; each portion changes at most `most` items.

    `after` is the position of the last record that was counted; records up to it are skipped. A
    record that changes no counter does not move the position: it may be read again.
    """
    sums: dict[str, Sums] = {}
    items: set[tuple[str, int | None]] = set()
    reached = upto = after or ""
    for record in records:
        sequence = _sequence(record)
        if sequence <= reached:
            continue
        reached = sequence
        counted = change_of(record)
        if counted is None:
            continue
        account_id, change = counted
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
    """Return a record's account and what to add to its counters; None if it changes nothing."""
    stream = record["dynamodb"]
    keys = unmarshal(stream["Keys"])
    old, new = _image(stream.get("OldImage")), _image(stream.get("NewImage"))
    kind, _, rest = keys["pk"].partition("#")
    change = Sums()
    if kind == "SIGNAL":
        account_id = rest.partition("#")[0]
        _move(change, _acked(old), _acked(new))
        if not old and new["type"] != PING:
            change.minutes[new["created_at"] // MINUTE] += 1
    elif kind == "DELIVERY":
        account_id = (new or old)["account_id"]
        _move(change, _total_of(old), _total_of(new))
    else:
        return None
    return (account_id, change) if change.totals or change.minutes else None


def by_hour(minutes: Mapping[int, int]) -> dict[int, dict[int, int]]:
    """Group minutes by hour, numbered since the epoch: hour → minute of the hour → count."""
    hours: dict[int, dict[int, int]] = {}
    for minute, count in minutes.items():
        hour, rest = divmod(minute, MINUTES_AN_HOUR)
        hours.setdefault(hour, {})[rest] = count
    return hours


def volume(minutes: Mapping[int, int], *, now: Micros) -> int:
    """Sum the minutes of the last 24 hours; never includes an older one."""
    last = now // MINUTE
    return sum(count for minute, count in minutes.items() if last - MINUTES_A_DAY < minute <= last)


def totals(counted: Mapping[str, int]) -> dict[str, int]:
    """Return each total by name; zero if it was never written, and never negative."""
    return {name: max(0, counted.get(name, 0)) for name in TOTALS}


def _sequence(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"]).zfill(_SEQUENCE_DIGITS)


def _image(image: Mapping[str, Any] | None) -> dict[str, Any]:
    return unmarshal({name: image[name] for name in _READ if name in image}) if image else {}


def _total_of(delivery: Mapping[str, Any]) -> str | None:
    return _STATES[DeliveryStatus(delivery["status"])] if delivery else None


def _acked(signal: Mapping[str, Any]) -> str | None:
    return ACKED if signal.get("task_status") == TaskStatus.ACKED else None


def _move(change: Sums, was: str | None, is_now: str | None) -> None:
    if was == is_now:
        return
    if was is not None:
        change.totals[was] -= 1
    if is_now is not None:
        change.totals[is_now] += 1


def _items(change: Sums) -> list[int | None]:
    """Return the counter items that a change writes: hours, and None for the totals."""
    items: list[int | None] = [minute // MINUTES_AN_HOUR for minute in change.minutes]
    return [None, *items] if change.totals else items
