from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gatehouse.core.clock import MINUTE, SECOND, Micros

LEASE: Micros = 30 * SECOND  # for one attempt, of which its timeout takes at most 10 s
GRACE: Micros = 2 * MINUTE  # how late a delivery may be before the sweeper looks at it
MOST_SWEEPS = 5

PING = "ping"


class Status(StrEnum):
    """Where a delivery stands, as callers see it."""

    PENDING = "pending"  # no attempt of this round was made, or it waits for its webhook
    RETRYING = "retrying"
    DELIVERED = "delivered"
    DEAD_LETTER = "dead_letter"


OPEN = frozenset({Status.PENDING, Status.RETRYING})


class Parked(StrEnum):
    """Why an open delivery waits without a time."""

    PAUSED = "paused"  # its webhook is not active
    GONE = "gone"  # the receiver answered 410, which switched its webhook off
    INTERNAL = "internal"  # sent five times by the sweeper and never attempted: our fault


class Death(StrEnum):
    """Why a delivery ended without success."""

    EXHAUSTED = "exhausted"
    WEBHOOK_DELETED = "webhook_deleted"
    SIGNAL_EXPIRED = "signal_expired"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One signal on its way to one webhook.

    Attempts number on through replays; `step` counts those of this `round`. `next_attempt` is the
    number of the attempt to come, and with `lease_until` what a worker claims. `due_at` is when
    the sweeper looks, None when it need not.
    """

    id: str
    account_id: str
    webhook_id: str
    signal_id: str
    event: str
    created_at: Micros
    expires_at: Micros
    status: Status = Status.PENDING
    next_attempt: int = 1
    round: int = 1
    step: int = 0
    lease_until: Micros = 0
    next_retry_at: Micros | None = None
    due_at: Micros | None = None
    unsent: bool = False  # the wait is longer than a message can be held back
    sweeps: int = 0
    parked: Parked | None = None
    reason: Death | None = None
    last_status_code: int | None = None
    delivered_at: Micros | None = None
    ended_at: Micros | None = None
    replay_of: str | None = None

    @property
    def attempt_count(self) -> int:
        """Count the attempts made."""
        return self.next_attempt - 1

    @property
    def is_open(self) -> bool:
        """Tell whether it may still be attempted."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST. `duration_ms` is whole; `response` holds the first KiB of the answer."""

    number: int
    started_at: Micros
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. `status_code` None: no answer, for the reason of `error`.

    `retry_after` is in seconds, as the receiver asked.
    """

    status_code: int | None = None
    error: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """It was delivered."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at a moment."""

    at: Micros


@dataclass(frozen=True, slots=True)
class Dead:
    """Give up."""

    reason: Death


@dataclass(frozen=True, slots=True)
class Park:
    """Keep it until its webhook is active again."""

    reason: Parked


Step = Done | Retry | Dead | Park


@dataclass(frozen=True, slots=True)
class Go:
    """A message: make this attempt."""

    delivery_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Wake:
    """A message: a webhook is active again, or gone; its parked deliveries go on, above an id."""

    account_id: str
    webhook_id: str
    above: str = ""


@dataclass(frozen=True, slots=True)
class Recover:
    """A message: replay a webhook's dead letters above an id, those dead when it was asked."""

    account_id: str
    webhook_id: str
    above: str
    asked_at: Micros


Message = Go | Wake | Recover
