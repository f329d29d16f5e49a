"""Makes one attempt: claims it, POSTs, records the outcome, and then sends the next message.

Whatever the receiver does is an outcome and is recorded. Our own failures raise, and SQS delivers
the message again: before the record, the attempt is repeated under the same id; after it, the
sweeper sends the next message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.retry import Backoff
from gatehouse.deliveries import header_rules, messages, rules, store
from gatehouse.deliveries.attempt_record import Recorder
from gatehouse.deliveries.messages import DeliveryQueues
from gatehouse.deliveries.model import (
    Attempt,
    AttemptMessage,
    DeadLetterReason,
    Delivered,
    Delivery,
    DeliveryStatus,
    Outcome,
    ParkReason,
    Posted,
)
from gatehouse.deliveries.webhook_reads import WebhookReads
from gatehouse.dynamo.table import Table
from gatehouse.outbound.client import Reply, RequestFailed
from gatehouse.signals import actions as signals
from gatehouse.webhooks import health, signing, slowness
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Material, Webhook
from gatehouse.webhooks.secret_cache import SecretCache

TIMEOUT = 10.0  # seconds for a whole attempt
_WEBHOOK_CHANGED = Backoff(6)


class Post(Protocol):
    """Sends a request, as a Sender of `outbound` does."""

    def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,
        most: int,
        owner: str,
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
    webhooks: WebhookReads = field(default_factory=WebhookReads)


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
    for number in _WEBHOOK_CHANGED.tries():
        webhook = worker.webhooks.find(
            worker.table,
            delivery.account_id,
            delivery.webhook_id,
            now=worker.now(),
            again=number > 1,
        )
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
    outcome, posted = _post(worker, delivery, webhook, material, body)
    ended_at = worker.now()
    attempt = rules.attempt_of(
        delivery, outcome, started_at=started_at, ended_at=ended_at, posted=posted
    )
    action = rules.next_action(
        delivery.step,
        outcome,
        schedule=webhook.schedule,
        now=ended_at,
        share=rules.jitter_share(delivery),
    )
    after = rules.after_attempt(delivery, outcome, action=action, now=ended_at)
    recorded = _recorder(worker, delivery).record(
        replace(after, last=attempt), action=action, webhook=webhook
    )
    if recorded is None:
        return AttemptReport("dropped", delivery)
    if recorded.status is DeliveryStatus.RETRYING and not recorded.unsent:
        slow = slowness.is_slow_after(webhook, ended_at - started_at, now=ended_at)
        worker.queue.send([messages.for_attempt(recorded, worker.now(), slow=slow)])
    if isinstance(action, Delivered):
        health.record_success(worker.table, webhook, now=ended_at)
    else:
        health.record_failure(worker.table, webhook, now=ended_at)
    outcome_name = "parked" if recorded.parked else recorded.status.value
    return AttemptReport(outcome_name, recorded, attempt)


def _post(
    worker: Worker, delivery: Delivery, webhook: Webhook, material: Material, body: bytes
) -> tuple[Outcome, Posted]:
    """Send the signed POST; return its outcome and what is kept of it."""
    signed = signing.headers(
        material.secrets,
        delivery_id=f"delivery:{delivery.id}",
        event=delivery.event,
        timestamp=worker.now() // SECOND,
        body=body,
    )
    posted = Posted(webhook.url, header_rules.kept_sent(signed, material.headers))
    try:
        reply = worker.post(
            "POST",
            webhook.url,
            headers={**material.headers, **signed},
            body=body,
            timeout=TIMEOUT,
            most=rules.SHOWN_BYTES,
            owner=webhook.id,
        )
    except RequestFailed as failed:
        return Outcome(error=failed.kind), posted
    wait = rules.parse_retry_after(reply.headers.get("retry-after"), worker.now())
    redirected = 300 <= reply.status < 400  # noqa: PLR2004
    error = "redirect" if redirected else reply.broken
    received = header_rules.kept_received(reply.headers)
    return (
        Outcome(status_code=reply.status, error=error, retry_after=wait),
        replace(posted, received=received, body=reply.body),
    )


def _park(worker: Worker, delivery: Delivery, webhook: Webhook) -> AttemptReport | None:
    """Park a delivery of an inactive webhook; None if the webhook changed since it was read."""
    parked = rules.parked(delivery, ParkReason.PAUSED)
    unchanged = webhook_writes.check_unchanged(worker.table, webhook)
    failed = _recorder(worker, delivery).save_with(parked, unchanged)
    if "delivery" in failed:
        return AttemptReport("dropped", delivery)
    return None if failed else AttemptReport("parked", parked)


def _give_up(worker: Worker, delivery: Delivery, reason: DeadLetterReason) -> AttemptReport:
    ended = rules.dead_letter(delivery, reason, worker.now())
    saved = _recorder(worker, delivery).save(ended)
    return AttemptReport("dropped" if saved is None else ended.status.value, ended)


def _recorder(worker: Worker, delivery: Delivery) -> Recorder:
    return Recorder(worker.table, delivery, worker.request_id, worker.now())
