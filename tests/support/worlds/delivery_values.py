"""One delivery, as it is created, with every field set, and at rest, for tests of rules."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.deliveries.model import DeadLetterReason, Delivery, DeliveryStatus, ParkReason

SECOND = 1_000_000
MINUTE = 60_000_000
WEEK = 604_800_000_000
NOW = 1_800_000_000_000_000
ID = "01945d3c-5c00-739d-a894-4e2cea69dd4a"
SIGNAL = "01945d3c-5c00-7abc-8def-0123456789ab"
NEW = Delivery(
    id=ID,
    account_id="a",
    webhook_id="w",
    signal_id="s",
    event="alert",
    created_at=NOW,
    expires_at=NOW + 2 * WEEK,
)
# Every field that a change of state must set or clear has a value here.
BUSY = replace(
    NEW,
    status=DeliveryStatus.RETRYING,
    next_attempt=4,
    round=2,
    step=1,
    lease_until=NOW + 30 * SECOND,
    next_retry_at=NOW,
    due_at=NOW + 2 * MINUTE,
    unsent=True,
    sweeps=3,
    parked=ParkReason.PAUSED,
    reason=DeadLetterReason.EXHAUSTED,
    last_status_code=404,
    ended_at=NOW - 7,
)
# What no worker and no sweeper acts on.
STILL = replace(
    BUSY,
    lease_until=0,
    next_retry_at=None,
    due_at=None,
    unsent=False,
    sweeps=0,
    parked=None,
    reason=None,
)
