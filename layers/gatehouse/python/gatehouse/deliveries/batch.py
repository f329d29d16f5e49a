"""Processes the messages of a batch side by side, in the fast or in the slow lane.

SQS finishes a batch as a whole: as long as one attempt hangs, its environment takes no other batch.
The fast lane therefore forwards the attempts of slow webhooks before it claims them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gatehouse.aws.queue import Queue
from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import GatehouseError, Unavailable
from gatehouse.core.observe import flush, logger, measure
from gatehouse.deliveries import messages
from gatehouse.deliveries.attempt import AttemptReport, Worker, make_attempt
from gatehouse.deliveries.model import AttemptMessage, Message
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.deliveries.tasks import do_task
from gatehouse.webhooks import slowness
from gatehouse.webhooks.model import Webhook

# The metric of each outcome.
METRICS = {
    "delivered": "Delivered",
    "retrying": "Retried",
    "dead_letter": "DeadLettered",
    "parked": "Parked",
    "dropped": "Dropped",
    "forwarded": "Forwarded",
}


@dataclass(frozen=True, slots=True)
class _Received:
    """A message of the batch; `line` names it in log lines."""

    id: str
    message: Message
    line: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchWorker:
    """Processes batches. `pool` has a thread for each message of the largest batch.

    `embedding`: the queue of the owner's own worker. `memory` is that of the fast lane; None in the
    slow lane, which forwards nothing.
    """

    worker: Worker
    pool: Executor
    embedding: Queue | None = None
    memory: SlowMemory | None = None

    def process(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Process a batch; return the messages that SQS must deliver again: we failed on them.

        After five times SQS moves such a message to the technical dead-letter queue.
        """
        failed: list[str] = []
        received = [one for one in map(partial(_read, failed), records) if one is not None]
        read_at = self.worker.now()
        found = self._find_webhooks(received, read_at)
        slow, kept = self._split(received, found, read_at)
        started_at = self.worker.now()
        running = {self.pool.submit(self._process, one): one for one in kept}
        self._forward(slow, failed)
        marked = self._mark_running(running, found, until=started_at + slowness.SLOW)
        reports = [AttemptReport("forwarded")] * len(slow)
        took: dict[AttemptMessage, Micros] = {}
        for future, one in running.items():
            result = future.result()
            if result is None:
                failed.append(one.id)
            elif isinstance(result, AttemptReport):
                reports.append(result)
                if result.attempt is not None and isinstance(one.message, AttemptMessage):
                    took[one.message] = result.attempt.duration_ms * SECOND // 1_000
        self._note(took, {name: one for name, one in found.items() if name not in marked})
        _measure(reports)
        return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}

    def _find_webhooks(self, received: Sequence[_Received], now: Micros) -> dict[str, Webhook]:
        """Read the webhooks of the batch's attempts, except those remembered as slow.

        Remembers those that are marked as slow.
        """
        wanted = {
            one.message.webhook_id: one.message
            for one in received
            if isinstance(one.message, AttemptMessage)
            and not (self.memory is not None and self.memory.is_marked(one.message, now))
        }
        read = self.pool.map(self._find_webhook, wanted.values())
        found = {one.id: one for one in read if one is not None}
        if self.memory is not None:
            for webhook in found.values():
                if webhook.slowness.slow:
                    self.memory.learn(webhook.id, now)
        return found

    def _find_webhook(self, message: AttemptMessage) -> Webhook | None:
        try:
            return self.worker.webhooks.find(
                self.worker.table, message.account_id, message.webhook_id, now=self.worker.now()
            )
        except Unavailable:
            return None  # the attempt itself finds that out

    def _split(
        self, received: Sequence[_Received], found: Mapping[str, Webhook], now: Micros
    ) -> tuple[list[_Received], list[_Received]]:
        """Split messages into those for the slow lane and those to process here.

        `now` is the time at which the webhooks were chosen to be read. At a later one a webhook
        that was not read, since it was remembered as slow, could seem to be quick.
        """
        slow: list[_Received] = []
        kept: list[_Received] = []
        for one in received:
            (slow if self._is_slow(one.message, found, now) else kept).append(one)
        return slow, kept

    def _is_slow(self, message: Message, found: Mapping[str, Webhook], now: Micros) -> bool:
        if self.memory is None or not isinstance(message, AttemptMessage):
            return False
        if self.memory.is_marked(message, now):
            return True
        return self.memory.is_over_budget(message, found.get(message.webhook_id), now)

    def _forward(self, slow: Sequence[_Received], failed: list[str]) -> None:
        """Send the messages of slow webhooks to the slow lane; they are not claimed yet."""
        if not slow:
            return
        forwarded = [
            messages.forwarded(one.message)
            for one in slow
            if isinstance(one.message, AttemptMessage)
        ]
        try:
            self.worker.queue.send(forwarded)
        except Unavailable:
            logger.exception("forward_unavailable", messages=len(slow))
            failed += [one.id for one in slow]

    def _mark_running(
        self,
        running: Mapping[Future[AttemptReport | int | None], _Received],
        found: Mapping[str, Webhook],
        *,
        until: Micros,
    ) -> set[str]:
        """Mark the webhooks of attempts that still run when they are slow; return their ids.

        The other environments know it then before the attempts end. In the slow lane, all are
        marked already.
        """
        if self.memory is None:
            return set()
        _, hanging = wait(running, timeout=max(0, until - self.worker.now()) / SECOND)
        slow = {
            one.message.webhook_id
            for future, one in running.items()
            if future in hanging and isinstance(one.message, AttemptMessage)
        }
        for webhook_id in slow:
            self.memory.learn(webhook_id, self.worker.now())
        for webhook in [found[one] for one in slow if one in found]:
            slowness.note(self.worker.table, webhook, slowness.SLOW, now=self.worker.now())
        return slow

    def _note(self, took: Mapping[AttemptMessage, Micros], found: Mapping[str, Webhook]) -> None:
        """Note how long the attempts took: of each webhook the longest of the batch."""
        longest: dict[str, AttemptMessage] = {}
        for message, duration in took.items():
            other = longest.get(message.webhook_id)
            if other is None or duration > took[other]:
                longest[message.webhook_id] = message
        now = self.worker.now()
        for webhook_id, message in longest.items():
            if self.memory is not None:
                self.memory.note(message, took[message], now)
                if took[message] >= slowness.SLOW:
                    self.memory.learn(webhook_id, now)
            if webhook_id in found:
                slowness.note(self.worker.table, found[webhook_id], took[message], now=now)

    def _process(self, one: _Received) -> AttemptReport | int | None:
        """Process a message; return the attempt's report, or how many deliveries it sent.

        None: SQS must deliver the message again.
        """
        worker, message = self.worker, one.message
        try:
            if isinstance(message, AttemptMessage):
                report = make_attempt(worker, message)
                _log(message, report, one.line)
                return report
            sent = do_task(
                worker.table, worker.queue, message, embedding=self.embedding, now=worker.now()
            )
        except GatehouseError:
            logger.exception("delivery_unavailable", **one.line)
            return None
        except Exception:  # noqa: BLE001 - a bug in one must not repeat the attempts of the others
            logger.exception("delivery_bug", **one.line)
            return None
        logger.info("sent_on", deliveries=sent, **asdict(message), **one.line)
        return sent


def _read(failed: list[str], record: Mapping[str, Any]) -> _Received | None:
    """Parse a message; one that cannot be parsed is ours, so it failed."""
    line = {
        "message_id": record["messageId"],
        "received": int(record["attributes"]["ApproximateReceiveCount"]),
    }
    try:
        return _Received(record["messageId"], messages.read(record["body"]), line)
    except (ValueError, KeyError):
        logger.exception("delivery_bug", **line)
        failed.append(record["messageId"])
        return None


def _log(message: AttemptMessage, report: AttemptReport, received: Mapping[str, Any]) -> None:
    line: dict[str, Any] = {
        "delivery_id": message.delivery_id,
        "attempt": message.attempt,
        "outcome": report.outcome,
    }
    if report.delivery is not None:
        line["webhook_id"] = report.delivery.webhook_id
        line["next_retry_at"] = report.delivery.next_retry_at
    if report.attempt is not None:
        line["status"] = report.attempt.status_code
        line["error"] = report.attempt.error
        line["duration_ms"] = report.attempt.duration_ms
    logger.info("attempt", **line, **received)


def _measure(reports: Sequence[AttemptReport]) -> None:
    for outcome, name in METRICS.items():
        count = sum(report.outcome == outcome for report in reports)
        if count:
            measure(name, [count], unit="Count")
    attempts = [report.attempt for report in reports if report.attempt is not None]
    measure("AttemptLatency", [one.duration_ms for one in attempts], unit="Milliseconds")
    delivered = [one.delivery for one in reports if one.outcome == "delivered" and one.delivery]
    ages = [((one.delivered_at or 0) - one.created_at) / 1_000 for one in delivered]
    measure("DeliveryAge", ages, unit="Milliseconds")
    flush()
