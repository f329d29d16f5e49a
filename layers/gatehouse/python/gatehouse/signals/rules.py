"""Checks a signal's fields, decides who may see it, and shows it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gatehouse.core import exact_json, ids
from gatehouse.core.clock import MINUTE, Micros, rfc3339
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES, Permissions
from gatehouse.core.text import NOT_PLAIN, is_message, is_plain
from gatehouse.policy.model import UNNAMED, Resource
from gatehouse.signals.model import (
    LARGEST_METADATA,
    LARGEST_PAYLOAD,
    LONGEST_CONTENT,
    LONGEST_LABEL,
    MOST_TAGS,
    NewSignal,
    Signal,
    TaskStatus,
)

# When the sweeper fans a signal out, if the stream's reader has not done it.
OVERDUE_AFTER: Micros = 2 * MINUTE
# When the sweeper deletes a mark whose signal does not exist: no request takes that long.
ABANDONED_AFTER: Micros = 10 * MINUTE


def check_type(text: str) -> str:
    """Check the type of a signal to emit. Raises BadInput."""
    if text not in SIGNAL_TYPES:
        raise BadInput(
            f"signal_type must be one of {', '.join(SIGNAL_TYPES)}",
            code="SIGNAL_EMIT_INVALID_TYPE",
            details={"field": "signal_type"},
        )
    return text


def check_content(text: str) -> str:
    """Check a signal's content. Raises FieldRequired or BadInput."""
    if not text.strip():
        raise FieldRequired("content")
    if len(text) > LONGEST_CONTENT:
        raise BadInput(
            f"content must be at most {LONGEST_CONTENT} characters", details={"field": "content"}
        )
    if not is_message(text):
        raise BadInput(
            f"content must not have {NOT_PLAIN}, except line breaks and tabs",
            details={"field": "content"},
        )
    return text


def check_label(text: str | None, *, field: str) -> str | None:
    """Check the name of a role, ring, tag or task type; None stays None. Raises BadInput."""
    if text is None or (0 < len(text) <= LONGEST_LABEL and is_plain(text)):
        return text
    raise BadInput(
        f"{field} must be 1 to {LONGEST_LABEL} printable characters", details={"field": field}
    )


def check_tags(values: Iterable[str]) -> tuple[str, ...]:
    """Check tags. Raises BadInput."""
    tags = tuple(values)
    if len(tags) > MOST_TAGS:
        raise BadInput(f"tags must have at most {MOST_TAGS} entries", details={"field": "tags"})
    for tag in tags:
        check_label(tag, field="tags")
    return tags


def urgency_text(value: float) -> str:
    """Check an urgency; return the shortest text that parses to the same number."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise BadInput("urgency must be a number from 0 to 1", details={"field": "urgency"})
    return str(int(value)) if value == int(value) else repr(float(value))


def urgency_number(text: str) -> float:
    """Return a stored urgency; 0 and 1 are whole numbers, as JSON parsers write them."""
    return int(text) if text in {"0", "1"} else float(text)


def compact_json(value: Mapping[str, Any] | None, *, field: str, largest: int) -> str:
    """Return an object as compact JSON; None is the empty one. Raises BadInput if too large."""
    text = exact_json.dumps(value or {})
    if len(text.encode()) > largest:
        raise BadInput(f"{field} must be at most {largest} bytes", details={"field": field})
    return text


def check_reference(text: str | None, *, kind: str, field: str) -> str | None:
    """Check an id, with or without its kind; return it with the kind. None stays None."""
    if text is None:
        return None
    bare = ids.read(text, kind=kind)
    if bare is None:
        article = "an" if kind[0] in "aeiou" else "a"
        raise BadInput(f"{field} must be {article} {kind} id", details={"field": field})
    return f"{kind}:{bare}"


def create(
    new: NewSignal,
    *,
    signal_id: str,
    account_id: str,
    from_identity: str,
    now: Micros,
    expires_at: Micros,
) -> Signal:
    """Check a request's fields and return the signal. Raises BadInput."""
    if new.signal_type == "task" and new.metadata is not None and "task_type" in new.metadata:
        named = new.metadata["task_type"]
        check_label(named if isinstance(named, str) else "", field="metadata.task_type")
    signal_type = check_type(new.signal_type)
    return Signal(
        id=signal_id,
        account_id=account_id,
        type=signal_type,
        content=check_content(new.content),
        from_identity=from_identity,
        created_at=now,
        expires_at=expires_at,
        from_role=check_label(new.from_role, field="from_role"),
        to_role=check_label(new.to_role, field="to_role"),
        to_ring=check_label(new.to_ring, field="to_ring"),
        to_identity=check_reference(new.to_identity, kind="identity", field="to_identity"),
        urgency=urgency_text(new.urgency),
        tags=check_tags(new.tags),
        payload=compact_json(new.payload, field="payload", largest=LARGEST_PAYLOAD),
        metadata=compact_json(new.metadata, field="metadata", largest=LARGEST_METADATA),
        parent_id=check_reference(new.parent_id, kind="signal", field="parent_id"),
        task_status=unclaimed_status(signal_type),
    )


def unclaimed_status(signal_type: str) -> TaskStatus | None:
    """Return the task status of a signal without a claim: `open` for tasks, else None."""
    return TaskStatus.OPEN if signal_type == "task" else None


def task_type_of(signal: Signal) -> str | None:
    """Return the task type in a task's metadata; None without one, and for other signals."""
    if signal.type != "task":
        return None
    named = json.loads(signal.metadata).get("task_type")
    return named if isinstance(named, str) else None


def resource_of(signal: Signal) -> Resource:
    """Return a signal as permissions see it. A signal without a ring concerns every ring."""
    task_type = (task_type_of(signal) or UNNAMED) if signal.type == "task" else None
    return Resource(signal_type=signal.type, task_type=task_type, ring=signal.to_ring or UNNAMED)


def may_see(permissions: Permissions, signal: Signal) -> bool:
    """Return whether a key with these permissions may see the signal."""
    types, rings = permissions.signal_types, permissions.ring_scopes
    return (not types or signal.type in types) and (not rings or signal.to_ring in rings)


def may_claim(signal: Signal, identity: str) -> bool:
    """Return whether the signal is addressed to everybody or to `identity` (`identity:<id>`)."""
    return signal.to_identity in {None, identity}


def as_emitted(signal: Signal) -> Signal:
    """Return the signal as it was when it was emitted, before any claim."""
    return replace(
        signal,
        pending=True,
        task_status=unclaimed_status(signal.type),
        claimed_by=None,
        claim_expires_at=None,
    )


def view(signal: Signal, now: Micros) -> dict[str, Any]:
    """Return a signal as plain JSON values. Published; fields are only added.

    A claim whose lease has expired is not shown. `origin_peer` is present if a peer sent it.
    """
    status, until = signal.task_status, signal.claim_expires_at
    claimed_by = signal.claimed_by
    if status is TaskStatus.CLAIMED and until is not None and until <= now:
        status, claimed_by, until = unclaimed_status(signal.type), None, None
    shown: dict[str, Any] = {
        "id": f"signal:{signal.id}",
        "signal_type": signal.type,
        "content": signal.content,
        "from_identity": signal.from_identity,
        "from_role": signal.from_role,
        "to_role": signal.to_role,
        "to_ring": signal.to_ring,
        "to_identity": signal.to_identity,
        "urgency": urgency_number(signal.urgency),
        "tags": list(signal.tags),
        "payload": exact_json.loads(signal.payload),
        "metadata": exact_json.loads(signal.metadata),
        "parent_id": signal.parent_id,
        "task_status": None if status is None else status.value,
        "claimed_by": claimed_by,
        "claim_expires_at": rfc3339(until),
        "delivery_state": _delivery_state(signal),
        "created_at": rfc3339(signal.created_at),
    }
    return shown if signal.origin_peer is None else shown | {"origin_peer": signal.origin_peer}


def _delivery_state(signal: Signal) -> str:
    if signal.acked:
        return "acked"
    return "pending" if signal.pending else "dispatched"


def body(signal: Signal) -> bytes:
    """Return the body that webhooks receive: the same bytes for each attempt, as it is signed."""
    shown = view(as_emitted(signal), signal.created_at)
    return exact_json.dumps(shown).encode()
