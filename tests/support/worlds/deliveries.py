"""A signal's way through the real rooms: fan-out, worker and sweeper on moto's table and queue.

Only the clock and the receiver are the test's own: both are arguments of the rooms.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3

from gatehouse.aws import clients
from gatehouse.aws.queue import Outgoing, Queue
from gatehouse.core import ids
from gatehouse.core.clock import SECOND, Micros
from gatehouse.deliveries import rules, store, sweep
from gatehouse.deliveries.attempt import Bench, Report, work
from gatehouse.deliveries.fan_out import Audience, fan_out
from gatehouse.deliveries.model import Attempt, Delivery, Go, Recover, Wake
from gatehouse.deliveries.sweep import Swept
from gatehouse.dynamo.table import Table, Tables, transact
from gatehouse.outbound.client import Reply, RequestFailed
from gatehouse.secrets.actions import Vault
from gatehouse.signals import store as signal_items
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import Filters, Webhook
from gatehouse.webhooks.secret_cache import Opened

START: Micros = 1_800_000_000 * SECOND
ACCOUNT = "0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e"
SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31


@dataclass(frozen=True, slots=True)
class Posted:
    """What a receiver saw."""

    at: Micros
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers as the test wants, by URL or else always; 200 where nothing is said."""

    now: Callable[[], Micros]
    answers: dict[str, list[Any]] = field(default_factory=dict)
    always: Any = 200
    seen: list[Posted] = field(default_factory=list)

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
        assert (method, timeout, most) == ("POST", 10.0, 1_024)
        self.seen.append(Posted(self.now(), url, dict(headers), body))
        line = self.answers.get(url)
        answer = line.pop(0) if line else self.always
        if isinstance(answer, str):
            raise RequestFailed(answer)
        if callable(answer):
            answer = answer()
        code, extra = answer if isinstance(answer, tuple) else (answer, {})
        return Reply(code, extra, b"said " + str(code).encode())


class Works:
    """One account's webhooks and signals, and time that passes when the test says so."""

    def __init__(self, tables: Tables, vault: Vault) -> None:
        """Begin with a queue of its own."""
        self.table: Table = tables.main
        self.vault = vault
        self.time = START
        client = boto3.client("sqs")
        url = client.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
        self.queue = Queue(url, clients.sqs())
        self.receiver = Receiver(lambda: self.time)
        self.sent: list[tuple[Micros, str]] = []  # when it comes, and what it says
        self.opened = Opened(self.table, vault)

    @property
    def bench(self) -> Bench:
        """What a worker works with, its messages caught on their way into the queue."""
        return Bench(self.table, self.mailbox, self.opened, self.receiver, lambda: self.time)

    @property
    def mailbox(self) -> Queue:
        """A queue whose delays follow the test's clock."""
        return _Mailbox(self)  # type: ignore[return-value]

    def webhook(self, url: str = "https://one.example/in", **fields: Any) -> Webhook:
        """Make a webhook."""
        webhook = Webhook(ids.new(self.time), ACCOUNT, url, self.time, **fields)
        made = webhooks.creating(
            self.table, self.vault, webhook, secret=SECRET, headers={"X-A": "b"}
        )
        transact(self.table.client, list(made.values()))
        return webhook

    def emit(self, **fields: Any) -> Signal:
        """Store a signal, still to be fanned out."""
        signal = Signal(
            **{
                "id": ids.new(self.time),
                "account_id": ACCOUNT,
                "type": "alert",
                "content": "hot",
                "from_identity": "identity:x",
                "created_at": self.time,
                "expires_at": self.time + 30 * 86_400 * SECOND,
            }
            | fields
        )
        signal_items.insert(self.table, signal)
        return signal

    def fan_out(self, signal: Signal) -> int:
        """Do what the stream's reader does."""
        audience = Audience(self.table)
        return fan_out(
            self.table, self.mailbox, signal, audience=audience, embedding=None, now=self.time
        )

    def sweep(self) -> Swept:
        """Do what the sweeper does."""
        return sweep.sweep(self.table, self.mailbox, embedding=None, now=self.time)

    def pass_time(self, seconds: float) -> None:
        """Let time pass without anything happening."""
        self.time += int(seconds * SECOND)

    def run(self, most: int = 200) -> list[Report]:
        """Work on messages in the order they come, time passing, until none is left."""
        reports = []
        for _ in range(most):
            if not self.sent:
                return reports
            report = self.take()
            if report is not None:
                reports.append(report)
        raise AssertionError("it does not end")

    def take(self) -> Report | None:
        """Work on the message that comes next."""
        self.sent.sort()
        at, body = self.sent.pop(0)
        self.time = max(self.time, at)
        message = rules.read(body)
        if isinstance(message, Go):
            return work(self.bench, message)
        if isinstance(message, Recover):
            sweep.recover(self.table, self.mailbox, message, now=self.time)
        elif isinstance(message, Wake):
            sweep.wake(self.table, self.mailbox, message, now=self.time)
        return None

    def delivery(self, signal: Signal, webhook: Webhook) -> Delivery:
        """Read a delivery as it stands."""
        found = store.find(self.table, rules.id_of(signal.id, webhook.id))
        assert found is not None
        return found

    def attempts(self, delivery: Delivery) -> list[Attempt]:
        """Read its attempts."""
        return store.attempts(self.table, delivery.id, limit=100)

    def reread(self, webhook: Webhook) -> Webhook:
        """Read a webhook as it stands."""
        found = webhooks.find(self.table, ACCOUNT, webhook.id)
        assert found is not None
        return found

    def switch(self, webhook: Webhook, *, active: bool) -> None:
        """Pause a webhook or make it active, as its version tells."""
        self.table.update(
            {"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id},
            "SET active = :active, version = version + :one",
            condition="attribute_exists(pk)",
            names={},
            values={":active": active, ":one": 1},
        )

    def remove(self, webhook: Webhook) -> None:
        """Delete a webhook, as the room does but for the audit event."""
        key = {"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id}
        transact(self.table.client, [self.table.delete(key)])


@dataclass
class _Mailbox:
    works: Works

    def send(self, messages: list[Outgoing]) -> None:
        # Through the real queue too, which judges their shape; its own delays are not waited for.
        self.works.queue.send(messages)
        now = self.works.time
        self.works.sent += [(now + one.delay * SECOND, one.body) for one in messages]

    def depth(self) -> Any:
        late = sum(at <= self.works.time for at, _ in self.works.sent)
        return type("Depth", (), {"visible": late})


def payload(posted: Posted) -> dict[str, Any]:
    """Read what a receiver got."""
    found: dict[str, Any] = json.loads(posted.body)
    return found


__all__ = ["ACCOUNT", "SECRET", "START", "Filters", "Receiver", "Works", "payload"]
