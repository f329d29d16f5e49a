"""When a delivery is tried again, given up or kept, and what its messages say. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from gatehouse.core.clock import DAY, MINUTE, SECOND, Micros
from gatehouse.deliveries.model import (
    GRACE,
    MOST_SWEEPS,
    Attempt,
    Dead,
    Death,
    Delivery,
    Done,
    Go,
    Message,
    Outcome,
    Park,
    Parked,
    Recover,
    Retry,
    Status,
    Step,
    Wake,
)

LONGEST_RETRY_AFTER = 3_600
LONGEST_DELAY = 900  # seconds for which a message can be held back
SHARDS = 16
SHOWN_BYTES = 1_024

# A delivery outlives its signal, so that a replay can be told that it comes too late.
OUTLIVES: Micros = 7 * DAY

# With a backlog the sweeper sends only what is this late, and few of it: a message that waits its
# turn is as late as one that was lost.
LATE: Micros = 15 * MINUTE
_LOOK_AGAIN: Micros = 30 * MINUTE
_LONGEST_PAUSE: Micros = 60 * MINUTE
_MOST_SWEPT = 1_000
_FEW = 25


def id_of(signal_id: str, webhook_id: str) -> str:
    """Derive a delivery's id: the same for the same signal and webhook, sorted by the signal's."""
    digest = hashlib.sha256(f"{signal_id}\n{webhook_id}".encode()).digest()
    moment = UUID(signal_id).int >> 80
    rand_a = int.from_bytes(digest[:2]) & 0xFFF
    rand_b = int.from_bytes(digest[2:10]) & ((1 << 62) - 1)
    # The layout of UUIDv7: milliseconds, version, 12 bits, variant, 62 bits.
    value = (moment << 80) | (7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b
    return str(UUID(int=value))


def lowest_id(moment: Micros) -> str:
    """Give what sorts before every id of a moment and later."""
    text = f"{max(0, moment) // 1_000:012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-000000000000"


def made(
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
    """Make a delivery whose first attempt is due at once."""
    return Delivery(
        id=id,
        account_id=account_id,
        webhook_id=webhook_id,
        signal_id=signal_id,
        event=event,
        created_at=now,
        expires_at=signal_ends_at + OUTLIVES,
        next_retry_at=now,
        due_at=now + GRACE,
        replay_of=replay_of,
    )


def next_step(step: int, outcome: Outcome, *, schedule: Sequence[int], now: Micros) -> Step:
    """Decide what follows an attempt; `step` is how many this round had before it.

    `schedule` holds the waits in seconds. Retry-After on 429 and 503 lengthens a wait, to an hour
    at most, and never shortens it.
    """
    code = outcome.status_code
    if code is not None and 200 <= code < 300:  # noqa: PLR2004
        return Done()
    if code == 410:  # noqa: PLR2004
        return Park(Parked.GONE)
    if step >= len(schedule):
        return Dead(Death.EXHAUSTED)
    wait = schedule[step]
    if code in {429, 503} and outcome.retry_after is not None:
        wait = max(wait, min(outcome.retry_after, LONGEST_RETRY_AFTER))
    return Retry(now + wait * SECOND)


def retry_after(text: str | None, now: Micros) -> int | None:
    """Read Retry-After, seconds or a date, as seconds from now; None where it says nothing."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        away = moment.timestamp() - now / SECOND
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(0, round(away)), LONGEST_RETRY_AFTER)


def after(delivery: Delivery, outcome: Outcome, *, step: Step, now: Micros) -> Delivery:
    """Give the delivery as it is after an attempt was made and decided on."""
    tried = replace(
        delivery,
        next_attempt=delivery.next_attempt + 1,
        step=delivery.step + 1,
        lease_until=0,
        sweeps=0,
        last_status_code=outcome.status_code,
    )
    match step:
        case Done():
            return replace(_still(tried), status=Status.DELIVERED, delivered_at=now, ended_at=now)
        case Retry(at):
            return waiting(replace(tried, status=Status.RETRYING), at, now)
        case Dead(reason):
            return dead(tried, reason, now)
        case Park(reason):
            return parked(tried, reason)


def waiting(delivery: Delivery, at: Micros, now: Micros) -> Delivery:
    """Give the delivery with its next attempt at a moment.

    Beyond what a message can wait it lies in the due index until the sweeper sends it; else the
    sweeper looks when the message must have been lost.
    """
    unsent = at - now > LONGEST_DELAY * SECOND
    due_at = at - MINUTE if unsent else max(at, now) + GRACE
    return replace(
        delivery, next_retry_at=at, due_at=due_at, unsent=unsent, parked=None, reason=None
    )


def parked(delivery: Delivery, reason: Parked) -> Delivery:
    """Give the delivery as it waits for its webhook. Callers see it as pending."""
    return replace(_still(delivery), status=Status.PENDING, parked=reason)


def dead(delivery: Delivery, reason: Death, now: Micros) -> Delivery:
    """Give the delivery as given up."""
    return replace(_still(delivery), status=Status.DEAD_LETTER, reason=reason, ended_at=now)


def again(delivery: Delivery, now: Micros) -> Delivery:
    """Give a dead delivery at the beginning of another round."""
    fresh = replace(
        delivery,
        status=Status.PENDING,
        round=delivery.round + 1,
        step=0,
        sweeps=0,
        lease_until=0,
        ended_at=None,
    )
    return waiting(fresh, now, now)


def woken(delivery: Delivery, now: Micros) -> Delivery:
    """Give a parked delivery as it goes on."""
    status = Status.RETRYING if delivery.step else Status.PENDING
    return waiting(replace(delivery, status=status, sweeps=0, lease_until=0), now, now)


def signal_ended(delivery: Delivery, now: Micros) -> bool:
    """Tell whether what the delivery carries is past its retention."""
    return delivery.expires_at - OUTLIVES <= now


def can_recover(delivery: Delivery, *, asked_at: Micros, now: Micros) -> bool:
    """Tell whether a recovery replays it: dead when that was asked, and its signal still kept."""
    return (
        delivery.status is Status.DEAD_LETTER
        and (delivery.ended_at or 0) < asked_at
        and not signal_ended(delivery, now)
    )


def _still(delivery: Delivery) -> Delivery:
    """Take away whatever would make somebody look at it again."""
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


def swept(delivery: Delivery, now: Micros, *, backlog: bool) -> Delivery:
    """Give the delivery as the sweeper leaves it, before it sends its message.

    The pause doubles from two minutes to an hour. A sweep during a backlog proves nothing about
    the delivery, so it does not count towards the five after which it is parked.
    """
    if not backlog and delivery.sweeps >= MOST_SWEEPS:
        return parked(delivery, Parked.INTERNAL)
    if backlog:
        return replace(delivery, due_at=now + _LOOK_AGAIN, unsent=False)
    at = max(now, delivery.next_retry_at or now)
    pause = min(GRACE * 2**delivery.sweeps, _LONGEST_PAUSE)
    return replace(delivery, due_at=at + pause, sweeps=delivery.sweeps + 1, unsent=False)


def to_sweep(due: Sequence[Delivery], now: Micros, *, visible: int) -> list[Delivery]:
    """Choose which of the due ones the sweeper sends; `visible` messages wait in the queue.

    What was never sent always goes. The rest stays while the queue is busy, but for a few that
    are very late: among them is what was lost.
    """
    never_sent = [one for one in due if one.unsent]
    overdue = [one for one in due if not one.unsent]
    if visible:
        late = [one for one in overdue if now - (one.next_retry_at or one.created_at) >= LATE]
        overdue = late[: _FEW + visible // 1_000]
    return [*never_sent, *overdue][:_MOST_SWEPT]


def delay(delivery: Delivery, now: Micros) -> int:
    """Say for how many seconds a delivery's message is held back."""
    away = (delivery.next_retry_at or now) - now
    return max(0, min(LONGEST_DELAY, -(-away // SECOND)))


def shard(delivery_id: str) -> int:
    """Spread deliveries over the partitions of the due index."""
    return int(delivery_id[-2:], 16) % SHARDS


def write(message: Message) -> str:
    """Write a message for the queue."""
    match message:
        case Go(delivery_id, attempt):
            found: dict[str, Any] = {"delivery": delivery_id, "attempt": attempt}
        case Wake(account_id, webhook_id, above):
            found = {"wake": webhook_id, "account": account_id, "above": above}
        case Recover(account_id, webhook_id, above, asked_at):
            found = {
                "recover": webhook_id,
                "account": account_id,
                "above": above,
                "asked_at": asked_at,
            }
    return json.dumps(found, separators=(",", ":"))


def read(text: str) -> Message:
    """Read what `write` wrote. Anything else is a ValueError or a KeyError: a bug of ours."""
    found: Mapping[str, Any] = json.loads(text)
    if "delivery" in found:
        return Go(found["delivery"], found["attempt"])
    if "wake" in found:
        return Wake(found["account"], found["wake"], found["above"])
    return Recover(found["account"], found["recover"], found["above"], found["asked_at"])


def shown(body: bytes) -> str:
    """Show the first KiB of an answer as text; what is no text is replaced."""
    return body[:SHOWN_BYTES].decode(errors="replace")


def audit_view(delivery: Delivery) -> dict[str, Any]:
    """Show a delivery in an audit event."""
    return {
        "webhook_id": f"webhook:{delivery.webhook_id}",
        "status": delivery.status.value,
        "attempt_count": delivery.attempt_count,
    }


def attempt_of(
    delivery: Delivery, outcome: Outcome, *, started_at: Micros, ended_at: Micros, body: bytes
) -> Attempt:
    """Write down what came of an attempt."""
    return Attempt(
        number=delivery.next_attempt,
        started_at=started_at,
        duration_ms=max(0, ended_at - started_at) // 1_000,
        status_code=outcome.status_code,
        error=outcome.error,
        response=None if outcome.status_code is None else shown(body),
    )
