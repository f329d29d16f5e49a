"""How an audit event is hashed and linked to the one before, and how a chain is verified. Pure.

The hashed form is published, so that anybody can verify an export: JSON with sorted keys, no
spaces, ASCII only, without the field `hash`; SHA-256 in hex.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from gatehouse.audit.model import Chain, Change, Event, Head, Origin, Problem
from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339


def hash_of(event: Event) -> str:
    """Return the hash of an event: over all its fields except `hash`."""
    body = {name: value for name, value in event.items() if name != "hash"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def link(
    head: Head, change: Change, *, origin: Origin, now: Micros, recorded_at: Micros | None = None
) -> tuple[Event, Head]:
    """Return the event that follows `head`, and the new head.

    The id sorts after the last one even if this clock is behind the clock that made the last
    one, so the order of ids is the order of the chain. In a list of both chains, events of one
    millisecond are in a fixed order: those of machines first. `now` is when the change took effect;
    `recorded_at` is set where its event was written later.
    """
    administered = origin.chain is Chain.ADMINISTRATION
    bare = ids.new_of_two(now, second=administered)
    if bare <= head.last_id:
        bare = ids.new_of_two(ids.moment_of(head.last_id) + 1000, second=administered)
    event: Event = {
        "id": f"audit:{bare}",
        "seq": head.seq + 1,
        "action": change.action,
        "actor": origin.actor,
        "via": origin.via,
        "target": change.target,
        "source_address": origin.source_address,
        "request_id": origin.request_id,
        "created_at": rfc3339(now),
        "before": _plain(change.before),
        "after": _plain(change.after),
        "prev_hash": head.hash,
    }
    if not administered:
        event["chain"] = origin.chain.value
    if recorded_at is not None:
        event["recorded_at"] = rfc3339(recorded_at)
    event["hash"] = hash_of(event)
    return event, Head(event["seq"], event["hash"], bare)


def verify(events: Iterable[Event], head: Head | None = None) -> list[Problem]:
    """Verify events, oldest first. `head` is one that was saved earlier, or the table's own.

    Finds every edit, deletion, insertion and reordering; with a head also truncation and a chain
    that was rewritten.
    """
    problems: list[Problem] = []
    expected = Head()
    hash_at_head = None
    for position, event in enumerate(events, start=1):
        seq, name = event.get("seq"), event.get("id")
        if not isinstance(seq, int):
            seq = -1  # not a number: the event was edited, and is in no order
        if hash_of(event) != event.get("hash"):
            message = "the event does not match its hash"
            problems.append(Problem("edited", seq, name, message, position))
        if seq != expected.seq + 1:
            message = f"expected event {expected.seq + 1} here, found event {seq}"
            problems.append(Problem("gap", seq, name, message, position))
        elif event.get("prev_hash") != expected.hash:
            message = "prev_hash is not the hash of the event before"
            problems.append(Problem("broken", seq, name, message, position))
        expected = Head(seq, str(event.get("hash")))
        if head is not None and seq == head.seq:
            hash_at_head = expected.hash
    if head is not None and head.seq > 0 and hash_at_head != head.hash:
        message = (
            f"the chain ends at event {expected.seq}, before the saved head {head.seq}"
            if hash_at_head is None
            else f"event {head.seq} has another hash than the saved head"
        )
        problems.append(Problem("truncated", head.seq, None, message))
    return problems


def head_after(events: Sequence[Event]) -> Head:
    """Return the head of a valid chain, oldest event first."""
    return Head(events[-1]["seq"], events[-1]["hash"]) if events else Head()


def _plain(value: Any) -> Any:
    """Convert tuples and mappings to what the table returns, so that the hash stays the same."""
    return json.loads(json.dumps(value, default=dict))
