"""One attempt: claim, POST, record, and only then send what comes next.

Whatever the receiver does is an outcome and is recorded. What we cannot do raises, and the message
comes back: before the record the attempt repeats under the same id, after it the sweeper mends.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Origin
from gatehouse.aws.queue import Queue
from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.messages import go
from gatehouse.deliveries.model import (
    Attempt,
    Dead,
    Death,
    Delivery,
    Done,
    Go,
    Outcome,
    Park,
    Parked,
    Status,
    Step,
)
from gatehouse.dynamo.table import Table, TransactionCanceled, TransactionConflict, Write, transact
from gatehouse.outbound.client import Reply, RequestFailed
from gatehouse.signals import actions as signals
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import signing
from gatehouse.webhooks.model import Material, Webhook
from gatehouse.webhooks.secret_cache import Opened

TIMEOUT = 10.0  # seconds for a whole attempt
_TRIES = 6
_LONGEST_WAIT = 0.2


class Post(Protocol):
    """The guarded way out, as `outbound.send`."""

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
class Bench:
    """What a worker works with."""

    table: Table
    queue: Queue
    opened: Opened
    post: Post
    now: Callable[[], Micros]
    request_id: str = "-"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a message: `outcome` is one word for the log and the metrics.

    delivered, retrying, dead_letter, parked, or dropped: it was another's, or made already.
    """

    outcome: str
    delivery: Delivery | None = None
    attempt: Attempt | None = None


def work(bench: Bench, message: Go) -> Report:
    """Make one attempt. Raises Unavailable when we, not the receiver, failed."""
    delivery = store.claim(
        bench.table, message.delivery_id, attempt=message.attempt, now=bench.now()
    )
    if delivery is None:
        return Report("dropped")
    for _ in range(_TRIES):
        webhook = webhooks.find(bench.table, delivery.account_id, delivery.webhook_id)
        if webhook is None:
            return _end(bench, delivery, Death.WEBHOOK_DELETED)
        if not webhook.active:
            parked = _park(bench, delivery, webhook)
            if parked is not None:
                return parked
            continue  # it changed just now
        return _attempt(bench, delivery, webhook)
    raise Unavailable


def _attempt(bench: Bench, delivery: Delivery, webhook: Webhook) -> Report:
    started_at = bench.now()
    signal = signals.find(bench.table, delivery.account_id, delivery.signal_id, now=started_at)
    if signal is None:
        return _end(bench, delivery, Death.SIGNAL_EXPIRED)
    material = bench.opened.material(webhook, now=started_at)
    if material is None:  # its secret goes with it
        return _end(bench, delivery, Death.WEBHOOK_DELETED)
    body = signals.body(signal)
    outcome, answered = _post(bench, delivery, webhook, material, body)
    ended_at = bench.now()
    attempt = rules.attempt_of(
        delivery, outcome, started_at=started_at, ended_at=ended_at, body=answered
    )
    step = rules.next_step(delivery.step, outcome, schedule=webhook.schedule, now=ended_at)
    after = rules.after(delivery, outcome, step=step, now=ended_at)
    recorded = _record(bench, delivery, after, attempt, step, webhook)
    if recorded is None:
        return Report("dropped", delivery)
    _note(bench, webhook, step, ended_at)
    if recorded.status is Status.RETRYING and not recorded.unsent:
        bench.queue.send([go(recorded, bench.now())])
    return Report("parked" if recorded.parked else recorded.status.value, recorded, attempt)


def _post(
    bench: Bench, delivery: Delivery, webhook: Webhook, material: Material, body: bytes
) -> tuple[Outcome, bytes]:
    signed = signing.headers(
        material.secrets,
        delivery_id=f"delivery:{delivery.id}",
        event=delivery.event,
        timestamp=bench.now() // SECOND,
        body=body,
    )
    try:
        reply = bench.post(
            "POST",
            webhook.url,
            headers={**material.headers, **signed},
            body=body,
            timeout=TIMEOUT,
            most=rules.SHOWN_BYTES,
        )
    except RequestFailed as failed:
        return Outcome(error=failed.kind), b""
    wait = rules.retry_after(reply.headers.get("retry-after"), bench.now())
    redirected = 300 <= reply.status < 400  # noqa: PLR2004
    error = "redirect" if redirected else None
    return Outcome(status_code=reply.status, error=error, retry_after=wait), reply.body


def _record(
    bench: Bench,
    delivery: Delivery,
    after: Delivery,
    attempt: Attempt,
    step: Step,
    webhook: Webhook,
) -> Delivery | None:
    """Write the attempt and what it changes; None: somebody else holds the delivery now."""
    now = bench.now()
    writes = {
        "delivery": store.replace(bench.table, after, seen=delivery),
        "attempt": store.record(bench.table, after, attempt),
    }
    match step:
        case Done() if webhook.failing:
            writes["webhook"] = webhooks.recovered(bench.table, webhook, now=now)
        case Dead() if not webhook.failing:
            writes["webhook"] = webhooks.failing(bench.table, webhook, now=now)
        case Park():
            return _switch_off(bench, delivery, after, writes, webhook)
    failed = _commit(bench.table, writes)
    if "webhook" in failed and "delivery" not in failed:
        # It was deleted meanwhile; the attempt was made all the same.
        del writes["webhook"]
        failed = _commit(bench.table, writes)
    return None if failed else after


def _switch_off(
    bench: Bench, delivery: Delivery, after: Delivery, writes: dict[str, Write], webhook: Webhook
) -> Delivery | None:
    """Record an attempt that was answered 410, and switch its webhook off with it.

    A webhook that is off by now stays as it is. One that was led elsewhere meanwhile is not
    what is gone: the delivery goes there at once.
    """
    seen: Webhook | None = webhook
    for _ in range(_TRIES):
        if seen is None:
            return None if _commit(bench.table, writes) else after
        if not seen.active:
            still_off = webhooks.unchanged(bench.table, seen)
            failed = _commit(bench.table, {**writes, "webhook": still_off})
        elif seen.url != webhook.url:
            after = rules.woken(after, bench.now())
            writes["delivery"] = store.replace(bench.table, after, seen=delivery)
            return None if _commit(bench.table, writes) else after
        else:
            failed = _disable(bench, seen, writes)
        if not failed:
            return after
        if "delivery" in failed:
            return None
        seen = webhooks.find(bench.table, webhook.account_id, webhook.id)
    raise Unavailable


def _disable(bench: Bench, webhook: Webhook, writes: Mapping[str, Write]) -> Sequence[str]:
    """Switch a webhook off, with the writes; gives the names of those that do not hold."""
    try:
        webhooks.disable(
            bench.table,
            webhook,
            reason="gone",
            also=writes,
            origin=Origin(actor="system:delivery", request_id=bench.request_id),
            now=bench.now(),
        )
    except audit.Refused as refused:
        return list(refused.failed)
    return []


def _note(bench: Bench, webhook: Webhook, step: Step, now: Micros) -> None:
    if isinstance(step, Done):
        webhooks.note_success(bench.table, webhook, now=now)
    else:
        webhooks.note_failure(bench.table, webhook, now=now)


def _park(bench: Bench, delivery: Delivery, webhook: Webhook) -> Report | None:
    """Keep a delivery for a paused webhook; None: the webhook was changed since it was read."""
    parked = rules.parked(delivery, Parked.PAUSED)
    failed = _commit(
        bench.table,
        {
            "delivery": store.replace(bench.table, parked, seen=delivery),
            "webhook": webhooks.unchanged(bench.table, webhook),
        },
    )
    if "delivery" in failed:
        return Report("dropped", delivery)
    return None if failed else Report("parked", parked)


def _end(bench: Bench, delivery: Delivery, reason: Death) -> Report:
    ended = rules.dead(delivery, reason, bench.now())
    failed = _commit(bench.table, {"delivery": store.replace(bench.table, ended, seen=delivery)})
    return Report("dropped" if failed else ended.status.value, ended)


def _commit(table: Table, writes: Mapping[str, Write]) -> Sequence[str]:
    """Do all writes or none; gives the names of those whose conditions failed."""
    names = list(writes)
    for attempt in range(_TRIES):
        try:
            transact(table.client, list(writes.values()))
        except TransactionCanceled as canceled:
            if canceled.failed:
                return [names[position] for position in canceled.failed]
        except TransactionConflict:
            pass
        else:
            return []
        time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.01 * 2**attempt)))  # noqa: S311
    raise Unavailable
