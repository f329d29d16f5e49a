"""A world for deliveries: the real fan-out, worker and sweeper on a table and a queue.

The test controls only the clock and the receiver, which the rooms take as arguments.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import boto3

from gatehouse.aws import clients
from gatehouse.aws.queue import Queue
from gatehouse.core import ids
from gatehouse.core.clock import SECOND, Micros
from gatehouse.deliveries import attempt_store, marker_store, message_rules, rules, store, sweep
from gatehouse.deliveries.attempt import AttemptReport, Worker, make_attempt
from gatehouse.deliveries.batch import BatchWorker
from gatehouse.deliveries.fan_out import FannedOut, fan_out, fan_out_records
from gatehouse.deliveries.messages import DeliveryMessage, DeliveryQueues
from gatehouse.deliveries.model import (
    Attempt,
    AttemptMessage,
    Delivery,
    DueMessage,
    FanOutMessage,
    Message,
    RecoverMessage,
    UnparkMessage,
)
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.deliveries.sweep import DeliverySweep
from gatehouse.deliveries.tasks import do_task
from gatehouse.dynamo.table import Table, Tables, transact
from gatehouse.outbound.client import Reply, RequestFailed
from gatehouse.secrets.actions import Vault
from gatehouse.signals import store as signal_store
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import store as webhook_store
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Webhook
from gatehouse.webhooks.secret_cache import SecretCache

START: Micros = 1_800_000_000 * SECOND
ACCOUNT = "0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e"
SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that the receiver got."""

    at: Micros
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers POSTs: the next of `answers` for the URL, else `always`.

    An answer is a status code, a pair of code and headers, a reply, a text that names an outbound
    error, or a function that returns one of these.
    """

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
        owner: str,
    ) -> Reply:
        assert owner
        assert (method, timeout, most) == ("POST", 10.0, 1_024)
        self.seen.append(Posted(self.now(), url, dict(headers), body))
        queued = self.answers.get(url)
        answer = queued.pop(0) if queued else self.always
        if callable(answer):
            answer = answer()
        if isinstance(answer, str):
            raise RequestFailed(answer)
        if isinstance(answer, Reply):
            return answer
        code, extra = answer if isinstance(answer, tuple) else (answer, {})
        return Reply(code, extra, b"said " + str(code).encode())


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep asked for, and what its tasks did.

    Overdue deliveries sent, deliveries unparked or replayed, and signals fanned out.
    """

    asked: DeliverySweep
    sent: int
    unparked: int
    signals: int


class DeliveryWorld:
    """One account's webhooks and signals, and a clock that moves when the test says so."""

    def __init__(self, tables: Tables, vault: Vault) -> None:
        """Start with an empty queue of its own."""
        self.table: Table = tables.main
        self.vault = vault
        self.time = START
        client = boto3.client("sqs")
        url = client.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
        self.queue = Queue(url, clients.sqs())
        self.receiver = Receiver(lambda: self.time)
        self.sent: list[tuple[Micros, str]] = []  # when each message becomes visible, and its body
        self.slow: set[str] = set()  # the bodies of messages that are in the slow lane
        self.memory = SlowMemory()
        self.secrets = SecretCache(self.table, vault)

    @property
    def worker(self) -> Worker:
        """Return a worker that sends its messages to `outbox`."""
        return Worker(self.table, self.outbox, self.secrets, self.receiver, lambda: self.time)

    @property
    def outbox(self) -> DeliveryQueues:
        """Return queues whose delays follow the test's clock."""
        return _Outbox(self)  # type: ignore[return-value]

    def webhook(self, url: str = "https://one.example/in", **fields: Any) -> Webhook:
        """Create a webhook."""
        fields = {"header_names": ("X-A",), **fields}
        webhook = Webhook(ids.new(self.time), ACCOUNT, url, self.time, **fields)
        writes = webhook_writes.create(
            self.table, self.vault, webhook, secret=SECRET, headers={"X-A": "b"}
        )
        transact(self.table.client, list(writes.values()))
        return webhook

    def emit(self, **fields: Any) -> Signal:
        """Store a signal whose fan-out is pending."""
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
        signal_store.insert(self.table, signal)
        return signal

    def fan_out(self, signal: Signal) -> int:
        """Fan a signal out, as the stream's reader does."""
        return fan_out(self.table, self.outbox, signal, embedding=None, now=self.time)

    def fan_out_records(self, signals: Sequence[Signal]) -> FannedOut:
        """Fan out the signals of a batch of stream records."""
        return fan_out_records(self.table, self.outbox, signals, embedding=None, now=self.time)

    def sweep_only(self) -> DeliverySweep:
        """Run the sweeper once. It only sends messages."""
        return sweep.sweep(self.table, self.outbox, now=self.time)

    def sweep(self) -> Swept:
        """Run the sweeper once, and at once the tasks that it sends, and those that follow them."""
        before = list(self.sent)
        asked = self.sweep_only()
        done = {DueMessage: 0, RecoverMessage: 0, UnparkMessage: 0, FanOutMessage: 0}
        while tasks := [one for one in self.sent if one not in before and self._is_task(one)]:
            self.sent.remove(tasks[0])
            message = message_rules.read(tasks[0][1])
            done[type(message)] += do_task(
                self.table, self.outbox, message, embedding=None, now=self.time
            )
        woken = done[RecoverMessage] + done[UnparkMessage]
        return Swept(asked, done[DueMessage], woken, asked.signals)

    def _is_task(self, sent: tuple[Micros, str]) -> bool:
        at, body = sent
        return at <= self.time and not isinstance(message_rules.read(body), AttemptMessage)

    def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        self.time += int(seconds * SECOND)

    def queue_message(self, message: Message) -> None:
        """Add a message that is visible now, with the marker that it must have."""
        if isinstance(message, UnparkMessage | RecoverMessage):
            self.put_marker(message)
        self.sent.append((self.time, message_rules.write(message)))

    def put_marker(self, message: UnparkMessage | RecoverMessage) -> None:
        """Write a marker, as an admin's request does. The sweeper waits two minutes for it."""
        transact(self.table.client, [marker_store.put(self.table, message, now=self.time)])

    def markers(self) -> list[UnparkMessage | RecoverMessage]:
        """Return the work that is marked."""
        return [one.message for one in marker_store.list_all(self.table)]

    def run(self, most: int = 200) -> list[AttemptReport]:
        """Process messages in the order in which they become visible, until none is left."""
        reports = []
        for _ in range(most):
            if not self.sent:
                return reports
            report = self.process_next()
            if report is not None:
                reports.append(report)
        raise AssertionError(f"there still are messages after {most}")

    def process_next(self) -> AttemptReport | None:
        """Move the clock to the next message and process it."""
        self.sent.sort()
        at, body = self.sent.pop(0)
        self.time = max(self.time, at)
        message = message_rules.read(body)
        if isinstance(message, AttemptMessage):
            return make_attempt(self.worker, message)
        do_task(self.table, self.outbox, message, embedding=None, now=self.time)
        return None

    def work_next(self) -> list[str]:
        """Move the clock to the next message and process it as the functions do, in its lane.

        Return the ids of failed messages: none, or that of this one.
        """
        self.sent.sort()
        at, body = self.sent.pop(0)
        self.time = max(self.time, at)
        return self.work(body, slow=body in self.slow)

    def work(self, *bodies: str, slow: bool = False) -> list[str]:
        """Process a batch of messages in a lane; return the ids (numbers) of those that failed."""
        memory = None if slow else self.memory
        done = BatchWorker(self.worker, Inline(), memory=memory).process(records(*bodies))
        return [one["itemIdentifier"] for one in done["batchItemFailures"]]

    def delivery(self, signal: Signal, webhook: Webhook) -> Delivery:
        """Read a delivery."""
        delivery = store.find(self.table, rules.id_of(signal.id, webhook.id))
        assert delivery is not None
        return delivery

    def attempts(self, delivery: Delivery) -> list[Attempt]:
        """Read a delivery's attempts."""
        return attempt_store.list_all(self.table, delivery, limit=100)

    def reread(self, webhook: Webhook) -> Webhook:
        """Read a webhook again."""
        return webhooks.get(self.table, ACCOUNT, webhook.id)

    def set_active(self, webhook: Webhook, *, active: bool) -> None:
        """Pause or activate a webhook, with a new version and no marker."""
        self._change(webhook, "active", active)

    def set_url(self, webhook: Webhook, url: str) -> None:
        """Change a webhook's URL, with a new version; another origin drops its headers."""
        self._change(webhook, "header_names", [])
        self._change(webhook, "url", url)

    def _change(self, webhook: Webhook, name: str, value: Any) -> None:
        self.table.update(
            {"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id},
            "SET #name = :value, version = version + :one",
            condition="attribute_exists(pk)",
            names={"#name": name},
            values={":value": value, ":one": 1},
        )

    def restore(self, webhook: Webhook) -> None:
        """Put a removed webhook back."""
        transact(self.table.client, [webhook_store.create(self.table, webhook)["webhook"]])

    def remove(self, webhook: Webhook) -> None:
        """Delete a webhook, without the audit event."""
        key = {"pk": f"WEBHOOK#{ACCOUNT}", "sk": webhook.id}
        transact(self.table.client, [self.table.delete(key)])


@dataclass
class _Outbox:
    world: DeliveryWorld

    def send(self, messages: list[DeliveryMessage]) -> None:
        # The real queue checks the messages' format; its delays are ignored.
        self.world.queue.send(messages)
        now = self.world.time
        self.world.sent += [(now + one.delay * SECOND, one.body) for one in messages]
        for one in messages:
            (self.world.slow.add if one.slow else self.world.slow.discard)(one.body)

    def depth(self) -> Any:
        visible = sum(at <= self.world.time for at, _ in self.world.sent)
        return type("Depth", (), {"visible": visible})


class Inline(Executor):
    """Runs what it is given at once, one after the other."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def records(*bodies: str) -> list[dict[str, Any]]:
    """Return messages as a worker receives them; their ids are their numbers, from 0."""
    return [
        {
            "messageId": str(number),
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
        }
        for number, body in enumerate(bodies)
    ]


def payload(posted: Posted) -> dict[str, Any]:
    """Parse the body that a receiver got."""
    parsed: dict[str, Any] = json.loads(posted.body)
    return parsed


def in_turn(read: Callable[[Any], Any], lanes: Sequence[Any]) -> list[Any]:
    """Read lanes one after the other, for tests that count or disturb calls in their order."""
    return [read(lane) for lane in lanes]
