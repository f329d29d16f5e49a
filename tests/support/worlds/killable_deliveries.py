"""A world of deliveries whose process can be killed before or after any call to the outside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.attempt import Worker
from gatehouse.deliveries.messages import DeliveryMessage, DeliveryQueues
from gatehouse.deliveries.model import (
    GRACE,
    Delivery,
    UnparkMessage,
)
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.dynamo.table import Tables
from gatehouse.outbound.client import RequestFailed
from gatehouse.secrets import actions as vaults
from gatehouse.signals.model import Signal
from gatehouse.webhooks.model import Webhook
from support.aws.faults import Killed, KillSwitch
from support.worlds.deliveries import ACCOUNT, DeliveryWorld

MOST_EVENTS = 200
VISIBILITY_TIMEOUT = 180 * SECOND


@dataclass
class _KillableQueue:
    inner: DeliveryQueues
    kill_switch: KillSwitch

    def send(self, messages: list[DeliveryMessage]) -> None:
        if messages:
            self.kill_switch.before()
            self.inner.send(messages)
            self.kill_switch.after()

    def depth(self) -> Any:
        self.kill_switch.before()
        depth = self.inner.depth()
        self.kill_switch.after()
        return depth


class KillableWorld(DeliveryWorld):
    """A world whose processes can be killed."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables, vaults.vault(tables.main))
        self.tables = tables
        self.kill_switch = KillSwitch()
        self.swept_at = self.time
        self.signals: list[Signal] = []
        self.webhooks: list[Webhook] = []

    @property
    def worker(self) -> Worker:
        return replace(super().worker, post=self._post)

    @property
    def outbox(self) -> DeliveryQueues:
        return _KillableQueue(super().outbox, self.kill_switch)  # type: ignore[return-value]

    def _post(self, *args: Any, **kwargs: Any) -> Any:
        self.kill_switch.before()
        try:
            return self.receiver(*args, **kwargs)
        except RequestFailed:
            self.kill_switch.after()
            raise
        finally:
            self.kill_switch.after()

    def process_next(self) -> None:
        """Process a message in its lane; if the worker dies, the message becomes visible again."""
        _, body = min(self.sent)
        slow = body in self.slow
        try:
            assert self.work_next() == []
        except Killed:
            self.sent.append((self.time + VISIBILITY_TIMEOUT, body))
            (self.slow.add if slow else self.slow.discard)(body)
            self.memory = SlowMemory()
            raise

    def resume(self, webhook: Webhook) -> None:
        """Activate a webhook with the marker of its parked deliveries, but without a message."""
        self.set_active(webhook, active=True)
        self.put_marker(UnparkMessage(ACCOUNT, webhook.id))

    def all_deliveries(self) -> list[Delivery | None]:
        """Read each signal's delivery to each webhook."""
        return [
            store.find(self.table, rules.id_of(signal.id, webhook.id))
            for signal in self.signals
            for webhook in self.webhooks
        ]

    def is_quiet(self) -> bool:
        """Whether no message or marker is left and every delivery has ended or is parked."""
        return (
            not self.sent
            and all(
                one is not None and (not one.is_open or one.parked) for one in self.all_deliveries()
            )
            and not self.markers()
        )

    def finish(self) -> None:
        """Let time pass until all is quiet; activate the webhooks; let it pass again."""
        self._pass()
        for webhook in self.webhooks:
            item = self.table.get({"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id})
            if item is not None and not item["active"]:
                self.receiver.always = 200
                self.resume(webhook)
        self.swept_at = self.time
        if any(one is not None and one.is_open for one in self.all_deliveries()):
            self.sweep_only()
        self._pass()

    def _pass(self) -> None:
        for _ in range(MOST_EVENTS):
            if self.is_quiet():
                return
            sweep_at = max(self.time, self.swept_at + MINUTE)
            if self.sent and min(self.sent)[0] <= sweep_at:
                self.process_next()
                continue
            self.time = self.swept_at = sweep_at
            if self._has_overdue():
                self.sweep_only()
        raise AssertionError("the deliveries do not end")

    def _has_overdue(self) -> bool:
        """Whether a sweep would find anything. Most would not, and a sweep is slow here."""
        deliveries = self.all_deliveries()
        due = [one.due_at for one in deliveries if one is not None and one.due_at is not None]
        lost = None in deliveries and self.time > self.signals[0].created_at + GRACE
        return lost or min(due, default=self.time + 1) <= self.time or bool(self.markers())
