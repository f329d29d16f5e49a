"""Bounds of a signal, who may see it, and how it is shown. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gatehouse.core import ids
from gatehouse.core.clock import DAY, MINUTE, Micros, rfc3339
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import SIGNAL_TYPES, Permissions
from gatehouse.policy.model import UNNAMED, Resource
from gatehouse.signals.model import Signal, TaskStatus, Wish

LEASE: Micros = 15 * MINUTE
# A pending signal that nobody fanned out by then is the sweeper's.
OVERDUE_AFTER: Micros = 2 * MINUTE

LONGEST_CONTENT = 65_536
LONGEST_LABEL = 64
MOST_TAGS = 50
LARGEST_PAYLOAD = 65_536  # bytes of compact JSON
LARGEST_METADATA = 16_384


def type_of(text: str) -> str:
    """Check the type of a signal to be made."""
    if text not in SIGNAL_TYPES:
        raise BadInput(
            f"signal_type must be one of {', '.join(SIGNAL_TYPES)}",
            code="SIGNAL_EMIT_INVALID_TYPE",
            details={"field": "signal_type"},
        )
    return text


def content_of(text: str) -> str:
    """Check a signal's content."""
    if not text.strip():
        raise FieldRequired("content")
    if len(text) > LONGEST_CONTENT:
        raise BadInput(
            f"content must be at most {LONGEST_CONTENT} characters", details={"field": "content"}
        )
    return text


def label_of(text: str | None, *, field: str) -> str | None:
    """Check a role's, ring's, tag's or task type's name; None stays None."""
    if text is None or (0 < len(text) <= LONGEST_LABEL and text.isprintable()):
        return text
    raise BadInput(
        f"{field} must be 1 to {LONGEST_LABEL} printable characters", details={"field": field}
    )


def tags_of(values: Iterable[str]) -> tuple[str, ...]:
    """Check tags."""
    tags = tuple(values)
    if len(tags) > MOST_TAGS:
        raise BadInput(f"tags must have at most {MOST_TAGS} entries", details={"field": "tags"})
    for tag in tags:
        label_of(tag, field="tags")
    return tags


def urgency_of(value: float) -> str:
    """Check an urgency and write it as the shortest text that reads back as the same number."""
    if isinstance(value, bool) or not 0 <= value <= 1:
        raise BadInput("urgency must be a number from 0 to 1", details={"field": "urgency"})
    return str(int(value)) if value == int(value) else repr(float(value))


def object_of(value: Mapping[str, Any] | None, *, field: str, largest: int) -> str:
    """Write a JSON object compactly, if it is not too large; None is the empty one."""
    text = json.dumps(value or {}, separators=(",", ":"), ensure_ascii=False)
    if len(text.encode()) > largest:
        raise BadInput(f"{field} must be at most {largest} bytes", details={"field": field})
    return text


def reference_of(text: str | None, *, kind: str, field: str) -> str | None:
    """Check an id of a kind, given with or without it, and write it with; None stays None."""
    if text is None:
        return None
    bare = ids.read(text, kind=kind)
    if bare is None:
        raise BadInput(f"{field} is no id of this kind", details={"field": field})
    return f"{kind}:{bare}"


def made(
    wish: Wish,
    *,
    signal_id: str,
    account_id: str,
    from_identity: str,
    now: Micros,
    expires_at: Micros,
) -> Signal:
    """Check a wish and make the signal of it."""
    if wish.signal_type == "task" and wish.metadata is not None and "task_type" in wish.metadata:
        named = wish.metadata["task_type"]
        label_of(named if isinstance(named, str) else "", field="metadata.task_type")
    signal_type = type_of(wish.signal_type)
    return Signal(
        id=signal_id,
        account_id=account_id,
        type=signal_type,
        content=content_of(wish.content),
        from_identity=from_identity,
        created_at=now,
        expires_at=expires_at,
        from_role=label_of(wish.from_role, field="from_role"),
        to_role=label_of(wish.to_role, field="to_role"),
        to_ring=label_of(wish.to_ring, field="to_ring"),
        to_identity=reference_of(wish.to_identity, kind="identity", field="to_identity"),
        urgency=urgency_of(wish.urgency),
        tags=tags_of(wish.tags),
        payload=object_of(wish.payload, field="payload", largest=LARGEST_PAYLOAD),
        metadata=object_of(wish.metadata, field="metadata", largest=LARGEST_METADATA),
        parent_id=reference_of(wish.parent_id, kind="signal", field="parent_id"),
        task_status=unclaimed(signal_type),
    )


def unclaimed(signal_type: str) -> TaskStatus | None:
    """Give the task status of a signal that nobody claims."""
    return TaskStatus.OPEN if signal_type == "task" else None


def task_type_of(signal: Signal) -> str | None:
    """Name the kind of task, as its metadata does; None where it does not, or is no task."""
    if signal.type != "task":
        return None
    named = json.loads(signal.metadata).get("task_type")
    return named if isinstance(named, str) else None


def resource_of(signal: Signal) -> Resource:
    """See a signal as permissions do. A signal without a ring concerns every ring."""
    task_type = (task_type_of(signal) or UNNAMED) if signal.type == "task" else None
    return Resource(signal_type=signal.type, task_type=task_type, ring=signal.to_ring or UNNAMED)


def may_see(permissions: Permissions, signal: Signal) -> bool:
    """Tell whether a key with these permissions sees the signal at all."""
    types, rings = permissions.signal_types, permissions.ring_scopes
    return (not types or signal.type in types) and (not rings or signal.to_ring in rings)


def is_due_to(signal: Signal, identity: str) -> bool:
    """Tell whether an identity, `identity:<id>`, may take it: it is for everybody or for it."""
    return signal.to_identity in {None, identity}


def as_emitted(signal: Signal) -> Signal:
    """Give the signal as it was at its emission, whatever became of it."""
    return replace(
        signal,
        pending=True,
        task_status=unclaimed(signal.type),
        claimed_by=None,
        claim_expires_at=None,
    )


def view(signal: Signal, now: Micros) -> dict[str, Any]:
    """Show a signal, in plain JSON values. Published; fields are only added.

    A claim whose lease has ended is none. `origin_peer` is there where a peer sent it.
    """
    status, until = signal.task_status, signal.claim_expires_at
    claimed_by = signal.claimed_by
    if status is TaskStatus.CLAIMED and until is not None and until <= now:
        status, claimed_by, until = unclaimed(signal.type), None, None
    shown: dict[str, Any] = {
        "id": f"signal:{signal.id}",
        "signal_type": signal.type,
        "content": signal.content,
        "from_identity": signal.from_identity,
        "from_role": signal.from_role,
        "to_role": signal.to_role,
        "to_ring": signal.to_ring,
        "to_identity": signal.to_identity,
        "urgency": float(signal.urgency),
        "tags": list(signal.tags),
        "payload": json.loads(signal.payload),
        "metadata": json.loads(signal.metadata),
        "parent_id": signal.parent_id,
        "task_status": None if status is None else status.value,
        "claimed_by": claimed_by,
        "claim_expires_at": None if until is None else rfc3339(until),
        "delivery_state": _delivery_state(signal),
        "created_at": rfc3339(signal.created_at),
    }
    return shown if signal.origin_peer is None else shown | {"origin_peer": signal.origin_peer}


def _delivery_state(signal: Signal) -> str:
    if signal.acked:
        return "acked"
    return "pending" if signal.pending else "dispatched"


def body(signal: Signal) -> bytes:
    """Write what webhooks receive: the same bytes for every attempt, since they are signed."""
    shown = view(as_emitted(signal), signal.created_at)
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode()


def day_of(moment: Micros) -> int:
    """Give the number of the day that a signal's partition is named after."""
    return moment // DAY
