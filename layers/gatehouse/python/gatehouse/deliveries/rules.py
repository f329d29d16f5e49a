"""What follows an attempt, and the delivery after each change of its state. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any
from uuid import UUID

from gatehouse.core.clock import DAY, MINUTE, SECOND, Micros
from gatehouse.deliveries import partition_rules
from gatehouse.deliveries.message_rules import LONGEST_DELAY
from gatehouse.deliveries.model import (
    GRACE,
    Attempt,
    DeadLetterReason,
    Delivered,
    Delivery,
    DeliveryStatus,
    GiveUp,
    NextAction,
    Outcome,
    Park,
    ParkReason,
    Posted,
    Retry,
)

LONGEST_RETRY_AFTER = 3_600  # seconds
_RETRY_AFTER_CODES = frozenset({429, 502, 503, 504})
# Waits of a minute or more are up to a tenth longer, so that what failed together is not retried
# together.
_JITTERED = MINUTE
_JITTER = 10
SHARDS = 64  # of the due index
SHOWN_BYTES = 1_024

# The states that the listing index has: two statuses, and the open deliveries that wait for their
# webhook, since unparking reads only them.
LISTED = frozenset({DeliveryStatus.RETRYING, DeliveryStatus.DEAD_LETTER})
PARKED = "parked"

# A delivery is kept longer than its signal, so that a late replay gets SIGNAL_EXPIRED, not 404.
KEPT_AFTER_SIGNAL: Micros = 7 * DAY


def id_of(signal_id: str, webhook_id: str) -> str:
    """Derive a delivery's id: the same for the same signal and webhook, sorted by the signal's.

    Its last 32 bits are the webhook's, so that the id says in which partition the delivery is.
    """
    digest = hashlib.sha256(f"{signal_id}\n{webhook_id}".encode()).digest()
    moment = UUID(signal_id).int >> 80
    rand_a = int.from_bytes(digest[:2]) & 0xFFF
    rand_b = int.from_bytes(digest[2:6]) & ((1 << 30) - 1)
    # The layout of UUIDv7: milliseconds, version, 12 bits, variant, 62 bits.
    value = (moment << 80) | (7 << 76) | (rand_a << 64) | (0b10 << 62) | (rand_b << 32)
    return str(UUID(int=value | int(partition_rules.part_of(webhook_id), 16)))


def lowest_id(moment: Micros) -> str:
    """Return a text that sorts before every id of this moment or later."""
    text = f"{max(0, moment) // 1_000:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def new_delivery(
    *,
    id: str,  # noqa: A002 - the field's name
    account_id: str,
    webhook_id: str,
    signal_id: str,
    event: str,
    signal_ends_at: Micros,
    now: Micros,
    replay_of: str | None = None,
) -> Delivery:
    """Return a delivery whose first attempt is due at once."""
    return Delivery(
        id=id,
        account_id=account_id,
        webhook_id=webhook_id,
        signal_id=signal_id,
        event=event,
        created_at=now,
        expires_at=signal_ends_at + KEPT_AFTER_SIGNAL,
        next_retry_at=now,
        due_at=now + GRACE,
        replay_of=replay_of,
    )


def next_action(
    step: int, outcome: Outcome, *, schedule: Sequence[int], now: Micros, share: float = 0.0
) -> NextAction:
    """Return what follows an attempt; `step` is the number of attempts before it in this round.

    `schedule` has the waits in seconds. Retry-After on 429, 502, 503 and 504 makes a wait longer,
    up to an hour, never shorter. `share`, from 0 up to 1, is how much of the possible jitter is
    added to a wait of a minute or more.
    """
    code = outcome.status_code
    if code is not None and 200 <= code < 300:  # noqa: PLR2004
        return Delivered()
    if code == 410:  # noqa: PLR2004
        return Park(ParkReason.GONE)
    if step >= len(schedule):
        return GiveUp(DeadLetterReason.EXHAUSTED)
    wait = schedule[step] * SECOND
    if code in _RETRY_AFTER_CODES and outcome.retry_after is not None:
        wait = max(wait, min(outcome.retry_after, LONGEST_RETRY_AFTER) * SECOND)
    if wait >= _JITTERED:
        wait += int(wait * share) // _JITTER
    return Retry(now + wait)


def jitter_share(delivery: Delivery) -> float:
    """Return the share of jitter before a delivery's next attempt, from 0 up to 1.

    It is derived from id and number, so that a repeat after a crash has the same wait.
    """
    digest = hashlib.sha256(f"{delivery.id}\n{delivery.next_attempt}".encode()).digest()
    return int.from_bytes(digest[:4]) / 2**32


def parse_retry_after(text: str | None, now: Micros) -> int | None:
    """Parse Retry-After, seconds or a date, as seconds from now; None if it is neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        # Nine digits are enough: anything longer is over the bound.
        return min(int(text.lstrip("0")[:9] or 0), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # the oldest form of HTTP's dates names no zone; all are in UTC
            moment = moment.replace(tzinfo=UTC)
        wait = int(moment.timestamp()) - now / SECOND
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(0, ceil(wait)), LONGEST_RETRY_AFTER)


def after_attempt(
    delivery: Delivery, outcome: Outcome, *, action: NextAction, now: Micros
) -> Delivery:
    """Return the delivery after an attempt and the action that follows it."""
    attempted = replace(
        delivery,
        next_attempt=delivery.next_attempt + 1,
        step=delivery.step + 1,
        lease_until=0,
        sweeps=0,
        last_status_code=outcome.status_code,
    )
    match action:
        case Delivered():
            return replace(
                _without_next_time(attempted),
                status=DeliveryStatus.DELIVERED,
                delivered_at=now,
                ended_at=now,
            )
        case Retry(at):
            return scheduled(replace(attempted, status=DeliveryStatus.RETRYING), at, now)
        case GiveUp(reason):
            return dead_letter(attempted, reason, now)
        case Park(reason):
            return parked(attempted, reason)


def scheduled(delivery: Delivery, at: Micros, now: Micros) -> Delivery:
    """Return the delivery with its next attempt at a time.

    If no message can be delayed that long, the delivery stays in the due index until the sweeper
    sends it a minute early. Else the sweeper sends it when the message must have been lost.
    """
    unsent = at - now > LONGEST_DELAY * SECOND
    due_at = at - MINUTE if unsent else max(at, now) + GRACE
    return replace(
        delivery, next_retry_at=at, due_at=due_at, unsent=unsent, parked=None, reason=None
    )


def parked(delivery: Delivery, reason: ParkReason) -> Delivery:
    """Return the delivery parked. Callers see it as pending."""
    return replace(_without_next_time(delivery), status=DeliveryStatus.PENDING, parked=reason)


def dead_letter(delivery: Delivery, reason: DeadLetterReason, now: Micros) -> Delivery:
    """Return the delivery given up."""
    return replace(
        _without_next_time(delivery),
        status=DeliveryStatus.DEAD_LETTER,
        reason=reason,
        ended_at=now,
    )


def next_round(delivery: Delivery, now: Micros) -> Delivery:
    """Return a dead letter at the start of its next round."""
    reset = replace(
        delivery,
        status=DeliveryStatus.PENDING,
        round=delivery.round + 1,
        step=0,
        sweeps=0,
        lease_until=0,
        ended_at=None,
    )
    return scheduled(reset, now, now)


def unparked(delivery: Delivery, now: Micros) -> Delivery:
    """Return a parked delivery with its next attempt due now, in the same round and step."""
    status = DeliveryStatus.RETRYING if delivery.step else DeliveryStatus.PENDING
    return scheduled(replace(delivery, status=status, sweeps=0, lease_until=0), now, now)


def signal_expired(delivery: Delivery, now: Micros) -> bool:
    """Return whether the retention of the delivery's signal has ended."""
    return delivery.expires_at - KEPT_AFTER_SIGNAL <= now


def can_recover(delivery: Delivery, *, asked_at: Micros, now: Micros) -> bool:
    """Return whether a recovery asked for at `asked_at` replays this delivery."""
    return (
        delivery.status is DeliveryStatus.DEAD_LETTER
        and (delivery.ended_at or 0) < asked_at
        and not signal_expired(delivery, now)
    )


def _without_next_time(delivery: Delivery) -> Delivery:
    """Return the delivery with nothing that makes a worker or the sweeper act on it."""
    return replace(
        delivery,
        lease_until=0,
        next_retry_at=None,
        due_at=None,
        unsent=False,
        sweeps=0,
        parked=None,
        reason=None,
    )


def shard_of(delivery_id: str) -> int:
    """Return the partition of the due index that a delivery is in."""
    return int(delivery_id[15:18], 16) % SHARDS


def listed_state(delivery: Delivery) -> str | None:
    """Return the state under which the listing index has a delivery; None: it is not there.

    Most deliveries never are: they are delivered at once.
    """
    if delivery.parked:
        return PARKED
    return delivery.status.value if delivery.status in LISTED else None


def shown_text(body: bytes) -> str:
    """Return the first KiB of a response's body as text; invalid UTF-8 is replaced."""
    return body[:SHOWN_BYTES].decode(errors="replace")


def audit_view(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as audit events show it."""
    return {
        "webhook_id": f"webhook:{delivery.webhook_id}",
        "status": delivery.status.value,
        "attempt_count": delivery.attempt_count,
    }


def attempt_of(
    delivery: Delivery, outcome: Outcome, *, started_at: Micros, ended_at: Micros, posted: Posted
) -> Attempt:
    """Return the record of an attempt."""
    return Attempt(
        number=delivery.next_attempt,
        started_at=started_at,
        duration_ms=max(0, ended_at - started_at) // 1_000,
        status_code=outcome.status_code,
        error=outcome.error,
        response=None if outcome.status_code is None else shown_text(posted.body),
        url=posted.url,
        sent=posted.sent,
        received=posted.received,
    )
