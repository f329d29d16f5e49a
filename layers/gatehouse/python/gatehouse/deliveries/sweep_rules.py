"""Which overdue deliveries the sweeper sends, and when it looks at them again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gatehouse.core.clock import MINUTE, Micros
from gatehouse.deliveries import rules
from gatehouse.deliveries.model import GRACE, MOST_SWEEPS, Delivery, ParkReason

# While the queue has a backlog, the sweeper sends only a few deliveries that are this late: a
# message that waits its turn is as late as one that was lost.
LATE: Micros = 15 * MINUTE
_NEXT_LOOK: Micros = 30 * MINUTE
_MOST_SENT = 1_000
_FEW = 25


def choose_to_send(due: Sequence[Delivery], now: Micros, *, visible: int) -> list[Delivery]:
    """Return the due deliveries that the sweeper sends; `visible` messages wait in the queue.

    Those that had no message yet are always sent. While the queue is busy, of the others only a few
    that are very late are sent, because a lost one is among the very late.
    """
    never_sent = [one for one in due if one.unsent]
    overdue = [one for one in due if not one.unsent]
    if visible:
        late = [one for one in overdue if now - (one.next_retry_at or one.created_at) >= LATE]
        overdue = late[: _FEW + visible // 1_000]
    return [*never_sent, *overdue][:_MOST_SENT]


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
