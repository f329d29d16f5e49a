"""The states of a delivery.

    new ────────────────────────────────────> pending
    pending, retrying ── 2xx ───────────────> delivered
    pending, retrying ── failed ────────────> retrying        while its schedule has steps left
    pending, retrying ── no step left ──────> dead_letter     or webhook deleted, signal expired
    pending, retrying ── webhook inactive ──> parked          or 410, or five sweeps in vain
    parked ───────────── webhook active ────> pending, retrying
    dead_letter ──────── replay, recover ───> pending         in the next round

Callers see a parked delivery as pending. A replay of a delivered one creates a new delivery.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.clock import MINUTE, SECOND, Micros

LEASE: Micros = 30 * SECOND  # of one attempt, whose POST takes at most 10 s
GRACE: Micros = 2 * MINUTE  # how late a delivery may be before the sweeper sends it
MOST_SWEEPS = 5  # without an attempt; then the delivery is parked

PING = "ping"


class DeliveryStatus(StrEnum):
    """The status of a delivery, as callers see it."""

    PENDING = "pending"  # no attempt was made in this round, or the delivery is parked
    RETRYING = "retrying"
    DELIVERED = "delivered"
    DEAD_LETTER = "dead_letter"


OPEN = frozenset({DeliveryStatus.PENDING, DeliveryStatus.RETRYING})


class ParkReason(StrEnum):
    """Why an open delivery is parked: it has no next time."""

    PAUSED = "paused"  # its webhook is inactive
    GONE = "gone"  # the receiver answered 410, which made its webhook inactive
    INTERNAL = "internal"  # sent by five sweeps and never attempted: our fault


class DeadLetterReason(StrEnum):
    """Why a delivery was given up."""

    EXHAUSTED = "exhausted"  # every retry of its schedule failed
    WEBHOOK_DELETED = "webhook_deleted"
    SIGNAL_EXPIRED = "signal_expired"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST. `duration_ms` is whole; `response` is the first KiB of the response's body.

    `sent` and `received` are headers of the request and of the response, None for a value that is
    not kept.
    """

    number: int
    started_at: Micros
    duration_ms: int
    status_code: int | None
    error: str | None
    response: str | None
    url: str | None = None
    sent: Mapping[str, str | None] = field(default_factory=dict)
    received: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One signal on its way to one webhook.

    Attempts are numbered over all rounds; `step` counts those of this `round`. A worker claims the
    attempt `next_attempt` until `lease_until`. `due_at` is when the sweeper sends the delivery if
    no attempt was made by then, None if it never does. `last` is the last attempt made.
    """

    id: str
    account_id: str
    webhook_id: str
    signal_id: str
    event: str
    created_at: Micros
    expires_at: Micros
    status: DeliveryStatus = DeliveryStatus.PENDING
    next_attempt: int = 1
    round: int = 1
    step: int = 0
    lease_until: Micros = 0
    next_retry_at: Micros | None = None
    due_at: Micros | None = None
    unsent: bool = False  # no message: the wait is longer than SQS can delay one
    sweeps: int = 0
    parked: ParkReason | None = None
    reason: DeadLetterReason | None = None
    last_status_code: int | None = None
    delivered_at: Micros | None = None
    ended_at: Micros | None = None
    replay_of: str | None = None
    last: Attempt | None = None

    @property
    def attempt_count(self) -> int:
        """The number of attempts made."""
        return self.next_attempt - 1

    @property
    def is_open(self) -> bool:
        """Whether it may still be attempted."""
        return self.status in OPEN


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attempt. `status_code` None: no response; `error` is the error's class.

    `retry_after` is the response's header, in seconds.
    """

    status_code: int | None = None
    error: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Posted:
    """What an attempt sent and received. `body` is the start of the response's body.

    None stands for a header's value that is not kept.
    """

    url: str
    sent: Mapping[str, str | None]
    received: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver accepted the delivery."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at this time."""

    at: Micros


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Make the delivery a dead letter."""

    reason: DeadLetterReason


@dataclass(frozen=True, slots=True)
class Park:
    """Keep the delivery until its webhook is active again."""

    reason: ParkReason


NextAction = Delivered | Retry | GiveUp | Park
"""What follows an attempt."""


@dataclass(frozen=True, slots=True)
class AttemptMessage:
    """Asks a worker to make one attempt of a webhook's delivery."""

    delivery_id: str
    attempt: int
    account_id: str
    webhook_id: str


@dataclass(frozen=True, slots=True)
class FanOutMessage:
    """Asks a worker to fan out a stored signal: the reader of the stream failed on it."""

    account_id: str
    signal_id: str


@dataclass(frozen=True, slots=True)
class UnparkMessage:
    """Asks a worker to send a webhook's parked deliveries whose ids are above `above`.

    The webhook is active again, or was deleted. `sent` counts those sent by the same pass before.
    """

    account_id: str
    webhook_id: str
    above: str = ""
    sent: int = 0


@dataclass(frozen=True, slots=True)
class RecoverMessage:
    """Asks a worker to replay a webhook's dead letters whose ids are above `above`.

    Only those given up before `asked_at`. `sent` counts those replayed by the same pass before.
    """

    account_id: str
    webhook_id: str
    above: str
    asked_at: Micros
    sent: int = 0


@dataclass(frozen=True, slots=True)
class DueMessage:
    """Asks a worker to send what is due in a shard of the due index, from the time `above` on.

    `visible` messages were in the queues when the sweeper began.
    """

    shard: int
    visible: int
    above: Micros = 0


WebhookMessage = UnparkMessage | RecoverMessage
Message = AttemptMessage | FanOutMessage | DueMessage | WebhookMessage
