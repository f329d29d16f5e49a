from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.grants import SIGNAL_TYPES

# What tests a webhook. Stored and shown like any other, but nobody emits it and nothing matches it.
PING = "ping"
STORED_TYPES = (*SIGNAL_TYPES, PING)


class TaskStatus(StrEnum):
    """Who is at it: nobody, somebody until the lease ends, or nobody any more."""

    OPEN = "open"
    CLAIMED = "claimed"
    ACKED = "acked"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks to emit, as it came. None: not given."""

    signal_type: str
    content: str
    from_role: str | None = None
    to_role: str | None = None
    to_ring: str | None = None
    to_identity: str | None = None
    urgency: float = 0.5
    tags: Sequence[str] = ()
    payload: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """Something that happened.

    `from_identity` is `identity:<id>` or, from a peer, its own word; `to_identity` and
    `claimed_by` are `identity:<id>`, `parent_id` is `signal:<id>`. `urgency` is the text of a
    number from 0 to 1, `payload` and `metadata` are compact JSON objects as text, since nothing
    here stores fractions. `pending`: still to be fanned out. `task_status` is as stored: a claim
    whose lease has ended still says claimed.
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
    urgency: str = "0.5"
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
        """Tell whether its claimer is done with it."""
        return self.task_status is TaskStatus.ACKED
