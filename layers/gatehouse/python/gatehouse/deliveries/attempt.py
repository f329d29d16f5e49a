"""Makes one attempt: claims it, POSTs, records the outcome, and then sends the next message.

Whatever the receiver does is an outcome and is recorded. Our own failures raise, and SQS delivers
the message again: before the record, the attempt is repeated under the same id; after it, the
sweeper sends the next message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Chain, Origin
from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.deliveries import messages, rules, store
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import (
    Attempt,
    AttemptMessage,
    DeadLetterReason,
    Delivered,
    Delivery,
    DeliveryStatus,
    GiveUp,
    NextAction,
    Outcome,
    Park,
    ParkReason,
)
from gatehouse.dynamo.table import Table, TransactionCanceled, TransactionConflict, Write, transact
from gatehouse.outbound.client import Reply, RequestFailed
from gatehouse.signals import actions as signals
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import health, signing, slowness
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Material, Webhook
from gatehouse.webhooks.secret_cache import SecretCache

TIMEOUT = 10.0  # seconds for a whole attempt
_WEBHOOK_CHANGED = Backoff(6)
_CONFLICT = Backoff(6, first=0.01, longest=0.2)


class Post(Protocol):
    """Sends a request, as `outbound.send` does."""

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,
        most: int,
    ) -> Reply:
        """Send a request; raises RequestFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """What one invocation of the worker uses for its attempts."""

    table: Table
    queue: DeliveryQueues
    secrets: SecretCache
    post: Post
    now: Callable[[], Micros]
    request_id: str = "-"


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """What a message led to. `outcome` is one word for the log and the metrics.

    delivered, retrying, dead_letter, parked, or dropped: the attempt was made already, or another
    worker has it.
    """

    outcome: str
    delivery: Delivery | None = None
    attempt: Attempt | None = None


def make_attempt(worker: Worker, message: AttemptMessage) -> AttemptReport:
    """Make one attempt. Raises Unavailable if we failed, not the receiver."""
    delivery = store.claim(
        worker.table, message.delivery_id, attempt=message.attempt, now=worker.now()
    )
    if delivery is None:
        return AttemptReport("dropped")
    for _ in _WEBHOOK_CHANGED.tries():
        webhook = webhooks.find(worker.table, delivery.account_id, delivery.webhook_id)
        if webhook is None:
            return _give_up(worker, delivery, DeadLetterReason.WEBHOOK_DELETED)
        if webhook.active:
            return _attempt(worker, delivery, webhook)
        parked = _park(worker, delivery, webhook)
        if parked is not None:
            return parked
    raise Unavailable


def _attempt(worker: Worker, delivery: Delivery, webhook: Webhook) -> AttemptReport:
    started_at = worker.now()
    signal = signals.find(worker.table, delivery.account_id, delivery.signal_id, now=started_at)
    if signal is None:
        return _give_up(worker, delivery, DeadLetterReason.SIGNAL_EXPIRED)
    material = worker.secrets.find_material(webhook, now=started_at)
    if material is None:  # it is deleted together with its webhook
        return _give_up(worker, delivery, DeadLetterReason.WEBHOOK_DELETED)
    body = signals.body(signal)
    outcome, response = _post(worker, delivery, webhook, material, body)
    ended_at = worker.now()
    attempt = rules.attempt_of(
        delivery, outcome, started_at=started_at, ended_at=ended_at, body=response
    )
    action = rules.next_action(
        delivery.step,
        outcome,
        schedule=webhook.schedule,
        now=ended_at,
        share=rules.jitter_share(delivery),
    )
    after = rules.after_attempt(delivery, outcome, action=action, now=ended_at)
    recorded = _record(worker, delivery, after, attempt, action, webhook)
    if recorded is None:
        return AttemptReport("dropped", delivery)
    if isinstance(action, Delivered):
        health.record_success(worker.table, webhook, now=ended_at)
    else:
        health.record_failure(worker.table, webhook, now=ended_at)
    if recorded.status is DeliveryStatus.RETRYING and not recorded.unsent:
        slow = slowness.is_slow_after(webhook, ended_at - started_at, now=ended_at)
        worker.queue.send([messages.for_attempt(recorded, worker.now(), slow=slow)])
    outcome_name = "parked" if recorded.parked else recorded.status.value
    return AttemptReport(outcome_name, recorded, attempt)


def _post(
    worker: Worker, delivery: Delivery, webhook: Webhook, material: Material, body: bytes
) -> tuple[Outcome, bytes]:
    """Send the signed POST; return its outcome and the start of the response's body."""
    signed = signing.headers(
        material.secrets,
        delivery_id=f"delivery:{delivery.id}",
        event=delivery.event,
        timestamp=worker.now() // SECOND,
        body=body,
    )
    try:
        reply = worker.post(
            "POST",
            webhook.url,
            headers={**material.headers, **signed},
            body=body,
            timeout=TIMEOUT,
            most=rules.SHOWN_BYTES,
        )
    except RequestFailed as failed:
        return Outcome(error=failed.kind), b""
    wait = rules.parse_retry_after(reply.headers.get("retry-after"), worker.now())
    redirected = 300 <= reply.status < 400  # noqa: PLR2004
    error = "redirect" if redirected else reply.broken
    return Outcome(status_code=reply.status, error=error, retry_after=wait), reply.body


def _record(
    worker: Worker,
    delivery: Delivery,
    after: Delivery,
    attempt: Attempt,
    action: NextAction,
    webhook: Webhook,
) -> Delivery | None:
    """Write the attempt and the delivery; None if another worker changed the delivery."""
    now = worker.now()
    writes = {
        "delivery": store.replace(worker.table, after, seen=delivery),
        "attempt": store.put_attempt(worker.table, after, attempt),
    }
    match action:
        case Delivered() if webhook.failing:
            writes["webhook"] = webhook_writes.clear_failing(worker.table, webhook, now=now)
        case GiveUp() if not webhook.failing:
            writes["webhook"] = webhook_writes.mark_failing(worker.table, webhook, now=now)
        case Park():
            return _record_gone(worker, delivery, after, writes, webhook)
    failed = _commit(worker.table, writes)
    if "webhook" in failed and "delivery" not in failed:
        # The webhook was deleted meanwhile. The attempt was made, so it is recorded.
        del writes["webhook"]
        failed = _commit(worker.table, writes)
    return None if failed else after


def _record_gone(
    worker: Worker, delivery: Delivery, after: Delivery, writes: dict[str, Write], webhook: Webhook
) -> Delivery | None:
    """Record an attempt that was answered 410, and disable its webhook in the same transaction.

    A webhook that became inactive meanwhile stays as it is. If its URL was changed meanwhile, the
    410 is not about the new URL: the webhook stays active, and the delivery goes there at once.
    """
    seen: Webhook | None = webhook
    for _ in _WEBHOOK_CHANGED.tries():
        if seen is None:
            return None if _commit(worker.table, writes) else after
        if not seen.active:
            still_inactive = webhook_writes.check_unchanged(worker.table, seen)
            failed = _commit(worker.table, {**writes, "webhook": still_inactive})
        elif seen.url != webhook.url:
            after = rules.unparked(after, worker.now())
            writes["delivery"] = store.replace(worker.table, after, seen=delivery)
            return None if _commit(worker.table, writes) else after
        else:
            failed = _disable(worker, seen, writes)
        if not failed:
            return after
        if "delivery" in failed:
            return None
        seen = webhooks.find(worker.table, webhook.account_id, webhook.id)
    raise Unavailable


def _disable(worker: Worker, webhook: Webhook, writes: Mapping[str, Write]) -> Sequence[str]:
    """Disable a webhook together with `writes`; return the names whose conditions failed."""
    try:
        health.disable(
            worker.table,
            webhook,
            reason="gone",
            also=writes,
            origin=Origin(
                actor="system:delivery", request_id=worker.request_id, chain=Chain.MACHINE
            ),
            now=worker.now(),
        )
    except audit.Refused as refused:
        return list(refused.failed)
    return []


def _park(worker: Worker, delivery: Delivery, webhook: Webhook) -> AttemptReport | None:
    """Park a delivery of an inactive webhook; None if the webhook changed since it was read."""
    parked = rules.parked(delivery, ParkReason.PAUSED)
    failed = _commit(
        worker.table,
        {
            "delivery": store.replace(worker.table, parked, seen=delivery),
            "webhook": webhook_writes.check_unchanged(worker.table, webhook),
        },
    )
    if "delivery" in failed:
        return AttemptReport("dropped", delivery)
    return None if failed else AttemptReport("parked", parked)


def _give_up(worker: Worker, delivery: Delivery, reason: DeadLetterReason) -> AttemptReport:
    ended = rules.dead_letter(delivery, reason, worker.now())
    write = store.replace(worker.table, ended, seen=delivery)
    failed = _commit(worker.table, {"delivery": write})
    return AttemptReport("dropped" if failed else ended.status.value, ended)


def _commit(table: Table, writes: Mapping[str, Write]) -> Sequence[str]:
    """Do all writes or none; return the names of those whose conditions failed."""
    names = list(writes)
    for _ in _CONFLICT.tries():
        try:
            transact(table.client, list(writes.values()))
        except TransactionCanceled as canceled:
            if canceled.failed:
                return [names[position] for position in canceled.failed]
        except TransactionConflict:
            pass
        else:
            return []
    raise Unavailable
