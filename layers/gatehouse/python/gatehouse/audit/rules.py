"""The chain: how an event is hashed, how it is linked, how a chain is judged. Pure.

The canonical form is published, because exports are checked offline and by other people's
code: JSON with sorted keys, no spaces, ASCII only, without the field `hash`; SHA-256, hex.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from gatehouse.audit.model import Change, Event, Head, Origin, Problem
from gatehouse.core import ids
from gatehouse.core.clock import Micros, rfc3339


def hash_of(event: Event) -> str:
    """Hash an event over everything but its own hash."""
    body = {name: value for name, value in event.items() if name != "hash"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def link(head: Head, change: Change, *, origin: Origin, now: Micros) -> tuple[Event, Head]:
    """Make the event that follows `head`, and the head it leaves.

    The id is later than the last one even when this clock is behind the one before, so that
    the order of ids is the order of the chain.
    """
    bare = ids.new(now)
    if bare <= head.last_id:
        bare = ids.new(ids.moment_of(head.last_id) + 1000)
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
    event["hash"] = hash_of(event)
    return event, Head(event["seq"], event["hash"], bare)


def verify(events: Iterable[Event], head: Head | None = None) -> list[Problem]:
    """Judge events, oldest first. `head` is a head kept elsewhere (or the table's own).

    Finds any edit, deletion, insertion or reordering, and, with a head, truncation and a
    chain that was written anew.
    """
    problems: list[Problem] = []
    expected = Head()
    kept_hash = None
    for event in events:
        seq, name = event.get("seq"), event.get("id")
        if not isinstance(seq, int):
            seq = -1  # not a number any more: edited, and out of order
        if hash_of(event) != event.get("hash"):
            problems.append(Problem("edited", seq, name, "the event does not match its hash"))
        if seq != expected.seq + 1:
            message = f"event {expected.seq + 1} should stand here, found {seq}"
            problems.append(Problem("gap", seq, name, message))
        elif event.get("prev_hash") != expected.hash:
            message = "the event does not name the hash of the one before it"
            problems.append(Problem("broken", seq, name, message))
        expected = Head(seq, str(event.get("hash")))
        if head is not None and seq == head.seq:
            kept_hash = expected.hash
    if head is not None and head.seq > 0 and kept_hash != head.hash:
        message = (
            f"the chain ends at {expected.seq}, before the kept head {head.seq}"
            if kept_hash is None
            else f"event {head.seq} is not the one that the kept head names"
        )
        problems.append(Problem("truncated", head.seq, None, message))
    return problems


def head_after(events: Sequence[Event]) -> Head:
    """Give the head that a chain which holds ends in."""
    return Head(events[-1]["seq"], events[-1]["hash"]) if events else Head()


def _plain(value: Any) -> Any:
    """Bring tuples and mappings to what JSON and the table give back, so that hashes hold."""
    return json.loads(json.dumps(value, default=dict))
