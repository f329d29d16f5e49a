from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatehouse.core.clock import MINUTE, Micros
from gatehouse.core.grants import SIGNAL_TYPES

# The type of a test signal: stored and shown like any other, but it cannot be emitted, and no
# filter matches it.
PING = "ping"
STORED_TYPES = (*SIGNAL_TYPES, PING)

LEASE: Micros = 15 * MINUTE  # of a claim

LONGEST_CONTENT = 65_536  # characters
LONGEST_LABEL = 64  # characters of a ring, role, tag or task type
MOST_TAGS = 50
LARGEST_PAYLOAD = 65_536  # bytes of compact JSON
LARGEST_METADATA = 16_384
DEFAULT_URGENCY = 0.5


class TaskStatus(StrEnum):
    """Whether an identity works on a signal."""

    OPEN = "open"
    CLAIMED = "claimed"  # until the lease expires
    ACKED = "acked"


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A signal as a request contains it, unchecked. None: left out."""

    signal_type: str
    content: str
    from_role: str | None = None
    to_role: str | None = None
    to_ring: str | None = None
    to_identity: str | None = None
    urgency: float = DEFAULT_URGENCY
    tags: Sequence[str] = ()
    payload: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """A stored signal.

    `from_identity` is `identity:<id>`, or what a peer said; `to_identity` and `claimed_by` are
    `identity:<id>`, `parent_id` is `signal:<id>`. `urgency` is a number from 0 to 1 as text, and
    `payload` and `metadata` are compact JSON objects as text, because no fractions are stored.
    `pending`: fan-out is wanted and not known to be finished; only the mark says whether it is.
    `task_status` is as stored: a claim whose lease has expired
    still is `claimed`.
    """

    id: str
    account_id: str
    type: str
    content: str
    from_identity: str
    created_at: Micros
    expires_at: Micros
    from_role: str | None = None
    to_role: str | None = None
    to_ring: str | None = None
    to_identity: str | None = None
    urgency: str = str(DEFAULT_URGENCY)
    tags: tuple[str, ...] = ()
    payload: str = field(default="{}", repr=False)
    metadata: str = field(default="{}", repr=False)
    parent_id: str | None = None
    origin_peer: str | None = None
    pending: bool = True
    task_status: TaskStatus | None = None
    claimed_by: str | None = None
    claim_expires_at: Micros | None = None

    @property
    def acked(self) -> bool:
        """Whether the signal was acknowledged."""
        return self.task_status is TaskStatus.ACKED


@dataclass(frozen=True, slots=True)
class Mark:
    """A signal whose fan-out is not finished."""

    account_id: str
    signal_id: str
