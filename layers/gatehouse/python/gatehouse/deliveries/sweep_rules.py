"""Which overdue deliveries the sweeper sends, and when it looks at them again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gatehouse.core import ids
from gatehouse.core.clock import MINUTE, Micros
from gatehouse.deliveries import rules
from gatehouse.deliveries.model import GRACE, MOST_SWEEPS, Delivery, ParkReason
from gatehouse.signals.model import Mark

# While the queue has a backlog, the sweeper sends only a few deliveries that are this late: a
# message that waits its turn is as late as one that was lost.
LATE: Micros = 15 * MINUTE
_NEXT_LOOK: Micros = 30 * MINUTE
_FEW = 25  # signals
_MESSAGES_FOR_ONE_MORE = 1_000


def choose_to_send(due: Sequence[Delivery], now: Micros, *, visible: int) -> list[Delivery]:
    """Return the due deliveries of a shard that are sent; `visible` messages wait in the queue.

    Those that had no message yet are always sent. While the queue is busy, of the others one that
    is very late is sent, because a lost one is among the very late.
    """
    never_sent = [one for one in due if one.unsent]
    overdue = [one for one in due if not one.unsent]
    if visible:
        late = [one for one in overdue if now - (one.next_retry_at or one.created_at) >= LATE]
        overdue = late[: 1 + visible // (rules.SHARDS * _MESSAGES_FOR_ONE_MORE)]
    return [*never_sent, *overdue]


def choose_to_fan_out(marks: Sequence[Mark], now: Micros, *, visible: int) -> list[Mark]:
    """Return the marks of signals that the sweeper asks to fan out; `visible` messages wait."""
    if not visible:
        return list(marks)
    late = [one for one in marks if now - ids.moment_of(one.signal_id) >= LATE]
    return late[: _FEW + visible // _MESSAGES_FOR_ONE_MORE]


def after_sweep(delivery: Delivery, now: Micros, *, backlog: bool) -> Delivery:
    """Return the delivery as the sweeper writes it, before it sends the message.

    The pause until the next sweep doubles, from 2 to 32 minutes. A sweep during a backlog
    does not count towards the five after which a delivery is parked: the message may just be late.
    """
    if not backlog and delivery.sweeps >= MOST_SWEEPS:
        return rules.parked(delivery, ParkReason.INTERNAL)
    if backlog:
        return replace(delivery, due_at=now + _NEXT_LOOK, unsent=False)
    at = max(now, delivery.next_retry_at or now)
    pause = GRACE * 2**delivery.sweeps
    return replace(delivery, due_at=at + pause, sweeps=delivery.sweeps + 1, unsent=False)
