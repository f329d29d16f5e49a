"""Hours of deliveries in milliseconds: the real rooms, with everything around them simulated.

Table, KMS, queue, stream, receivers and clock are in memory and depend on one seed. Messages arrive
late, twice or never; processes freeze and die at calls to the outside; responses are lost; admins
pause, activate, recover, replay and delete. Then the faults stop, time passes, and every delivery
must have ended as it should.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from gatehouse.aws.queue import Depth
from gatehouse.core import ids
from gatehouse.core.clock import DAY, MINUTE, SECOND, Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.grants import FULL
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.deliveries import actions as deliveries
from gatehouse.deliveries import batch, message_rules, rules, store, sweep
from gatehouse.deliveries.attempt import Worker
from gatehouse.deliveries.batch import BatchWorker
from gatehouse.deliveries.fan_out import fan_out_records
from gatehouse.deliveries.messages import DeliveryMessage
from gatehouse.deliveries.model import (
    AttemptMessage,
    Delivery,
    ParkReason,
)
from gatehouse.deliveries.slow_memory import SlowMemory
from gatehouse.deliveries.tasks import do_task
from gatehouse.dynamo import lanes
from gatehouse.dynamo.table import Table, transact
from gatehouse.keys import store as key_store
from gatehouse.keys.model import Key
from gatehouse.outbound.client import Reply, RequestFailed
from gatehouse.secrets.actions import Vault
from gatehouse.signals import store as signal_store
from gatehouse.signals.model import Signal
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Filters, Webhook, WebhookFields
from gatehouse.webhooks.secret_cache import SecretCache
from support.aws import resources
from support.aws.faults import Wire
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.memory_kms import MemoryKms
from support.worlds.deliveries import ACCOUNT, SECRET, START, Inline, in_turn, records
from support.worlds.simulated_processes import Message, SimulatedProcesses

FAULTS_END: Micros = START + 12 * MINUTE  # no fault is injected later
END: Micros = FAULTS_END + 12 * 60 * MINUTE
VISIBILITY_TIMEOUT: Micros = 180 * SECOND
MOST_RECEIVES = 5
KEY = "key"  # the id of the admin's key


class Simulation(SimulatedProcesses):
    """One seeded run."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.webhooks: list[Webhook] = []
        self._messages: dict[int, Micros] = {}  # when each in the queue becomes visible
        self.removed: dict[str, Micros] = {}
        self.signals: list[Signal] = []
        client = MemoryDynamo()
        client.add_table("main", resources.table_properties("MainTable"))
        line = Wire(client)
        line.before = lambda _, name: self._before(name)
        line.after = lambda _, name: self._after(name)
        self._items = client.table("main")
        self.table = Table("main", client)  # type: ignore[arg-type]
        self._vault = Vault(MemoryKms(lambda: self._before("Decrypt")), "key")  # type: ignore[arg-type]
        self._memories = [SlowMemory(), SlowMemory()]  # of two environments of the fast lane
        batch.logger = _Strict()  # type: ignore[assignment]
        ids.secrets = SimpleNamespace(randbits=self.rng.getrandbits)  # type: ignore[assignment]
        lanes.each = in_turn
        self._set_up()

    def run(self) -> None:
        """Run until the faults end, activate every webhook, and run until everything has ended."""
        self.clock.run(self._run)

    def _run(self) -> None:
        self._faulty = True
        self._pass_to(FAULTS_END)
        self._faulty = False
        self._pass_to(self.time + 2 * MINUTE)  # until what runs has ended, frozen or hanging
        for webhook in webhooks.list_all(self.table, ACCOUNT):
            if not webhook.active:
                self._set_active(webhook.id, active=True)
        while self.time < END and not self.is_over():
            self._pass_to(self.time + 5 * MINUTE)
            self._replay_internal()

    def expected(self) -> list[tuple[Signal, Webhook, Delivery | None]]:
        """Return each signal with each webhook that matched it when it was emitted."""
        return [
            (signal, webhook, store.find(self.table, rules.id_of(signal.id, webhook.id)))
            for signal in self.signals
            for webhook in self.webhooks
            if self.removed.get(webhook.id, END) > signal.created_at
            and webhooks.matches(webhook, signal)
        ]

    def is_over(self) -> bool:
        """Whether every delivery has ended, and no message is left."""
        if self._messages:
            return False
        return all(
            webhook.id in self.removed if one is None else not one.is_open
            for _, webhook, one in self.expected()
        )

    # ---- The initial state, and what callers and admins do

    def _set_up(self) -> None:
        # What an admin changes is refused if the calling key does not exist.
        calling = Key(KEY, ACCOUNT, ACCOUNT, "default", "hk", "", FULL, ACCOUNT, START)
        transact(self.table.client, list(key_store.create(self.table, calling).values()))
        for number in range(self.rng.randint(1, 3)):
            filters = self.rng.choice((Filters(), Filters(types=("alert",))))
            schedule = self.rng.choice(((), (), (5, 30), (1_200, 10)))
            webhook = Webhook(
                ids.new(START),
                ACCOUNT,
                f"https://r{number}.example/in",
                START,
                filters=filters,
                retry_schedule=schedule,
                active=self.rng.random() < 0.9,
            )
            writes = webhook_writes.create(self.table, self._vault, webhook, secret=SECRET)
            transact(self.table.client, list(writes.values()))
            self.webhooks.append(webhook)
        for _ in range(self.rng.randint(1, 4)):
            self._at(self._moment(), self._emit)
        for _ in range(self.rng.choice((0, 0, 1, 2, 4))):
            self._at(self._moment(), lambda: self._job(self._act_as_admin))
        self._at(START + self.rng.randrange(MINUTE), self._sweep)
        self._success_rate = self.rng.choice((0.2, 0.6, 0.9, 1.0))

    def _moment(self) -> Micros:
        return START + self.rng.randrange(9 * MINUTE)

    def _emit(self) -> None:
        signal = Signal(
            id=ids.new(self.time),
            account_id=ACCOUNT,
            type=self.rng.choice(("alert", "pulse")),
            content="hot",
            from_identity="identity:x",
            created_at=self.time,
            expires_at=self.time + 30 * DAY,
        )
        self._faulty, faulty = False, self._faulty
        signal_store.insert(self.table, signal)
        self._faulty = faulty
        self.signals.append(signal)
        if not self._strikes("record lost"):
            self._at(self._soon(), lambda: self._read_stream(signal, 1))

    def _read_stream(self, signal: Signal, tries: int) -> None:
        def act() -> None:
            done = fan_out_records(
                self.table,
                self,  # type: ignore[arg-type]
                [signal],
                embedding=None,
                now=self.time,
            )
            if done.left:
                raise Unavailable

        if not self._job(act) and tries < 5:
            self._at(self._soon(), lambda: self._read_stream(signal, tries + 1))

    def _act_as_admin(self) -> None:
        webhook = self.rng.choice(self.webhooks)
        if webhook.id in self.removed:
            return
        what = self.rng.choice(
            ("pause", "pause", "resume", "resume", "recover", "replay", "delete")
        )
        if what == "delete" and self.rng.random() < 0.5:
            self.removed[webhook.id] = self.time  # even if the request fails
            marker = deliveries.unpark_marker(self.table, self._call(), webhook.id)
            webhooks.remove(self.table, self._call(), webhook.id, also=marker)
            deliveries.send_unpark(self, self._call(), webhook.id)  # type: ignore[arg-type]
        elif what in {"pause", "resume"}:
            self._set_active(webhook.id, active=what == "resume")
        elif what == "recover":
            self._recover(webhook.id)
        elif self.signals:
            signal = self.rng.choice(self.signals)
            self._replay(rules.id_of(signal.id, webhook.id))

    def _set_active(self, webhook_id: str, *, active: bool) -> None:
        """Change a webhook as functions/webhooks does."""
        call = self._call()
        also = (
            deliveries.unpark_marker(self.table, call, webhook_id) if active else webhooks.NO_WRITES
        )
        webhooks.update(
            self.table,
            call,
            self._vault,
            webhook_id,
            fields=WebhookFields(active=active),
            also=also,
        )
        if active:
            deliveries.send_unpark(self, call, webhook_id)  # type: ignore[arg-type]

    def _recover(self, webhook_id: str) -> None:
        deliveries.recover(
            self.table,
            self._call(),
            self,  # type: ignore[arg-type]
            webhook_id=webhook_id,
            since=START,
            answered=_answered,
        )

    def _replay(self, delivery_id: str) -> None:
        deliveries.replay(
            self.table,
            self._call(),
            self,  # type: ignore[arg-type]
            delivery_id=delivery_id,
            answered=_answered,
        )

    def _replay_internal(self) -> None:
        for _, _, one in self.expected():
            if one is not None and one.parked is ParkReason.INTERNAL:
                self.observed.internal += 1
                self._replay(one.id)

    def _call(self) -> Call:
        principal = Principal(KEY, ACCOUNT, ACCOUNT, "hk", FULL, True, "central", "active", False)  # noqa: FBT003
        return Call("request", self.time, principal)

    # ---- The queue, and the workers that receive from it

    def send(self, messages: list[DeliveryMessage]) -> None:
        """Accept messages; lose, duplicate or delay some of them."""
        if not messages:
            return
        self._before("Send")
        for one in messages:
            at = self._soon() + one.delay * SECOND
            if self._strikes("message lost"):
                continue
            if self._strikes("message late"):
                at += self.rng.randrange(600 * SECOND)
            if self._strikes("message twice"):
                self._put(at + self.rng.randrange(400 * SECOND), Message(one.body, slow=one.slow))
            self._put(at, Message(one.body, slow=one.slow))
        self._after("Send")

    def depth(self) -> Depth:
        """Return the number of visible messages, sometimes a wrong one."""
        self._before("Depth")
        visible = sum(at <= self.time for at in self._messages.values())
        return Depth(self.rng.randrange(4) if self._strikes("wrong depth") else visible, 0)

    def _put(self, at: Micros, message: Message) -> None:
        self._messages[id(message)] = at
        self._at(at, lambda: self._receive(message))

    def _receive(self, message: Message) -> None:
        content = message_rules.read(message.body)
        received_at = self.time
        if isinstance(content, AttemptMessage):
            attempt = (content.delivery_id, content.attempt)
            done = self._job(lambda: self._attempt(message), attempt)
        else:
            done = self._job(lambda: self._do_task(message, content))
        if not done and message.receives < MOST_RECEIVES:
            self._put(max(self.time, received_at + VISIBILITY_TIMEOUT), message)

    def _do_task(self, message: Message, content: Any) -> None:
        self._take(message)
        do_task(self.table, self, content, embedding=None, now=self.time)  # type: ignore[arg-type]

    def _take(self, message: Message) -> None:
        message.receives += 1
        del self._messages[id(message)]

    def _attempt(self, message: Message) -> None:
        self._take(message)
        secrets = SecretCache(self.table, self._vault)
        worker = Worker(self.table, self, secrets, self._post, lambda: self.time)  # type: ignore[arg-type]
        memory = None if message.slow else self.rng.choice(self._memories)
        self.observed.slow += message.slow
        worker_of_batch = BatchWorker(worker, Inline(), memory=memory)
        if worker_of_batch.process(records(message.body))["batchItemFailures"]:
            raise Unavailable

    def _sweep(self) -> None:
        self._at(self.time + MINUTE, self._sweep)
        if self._is_due() or self.rng.random() < 0.1:
            self._job(lambda: sweep.sweep(self.table, self, now=self.time))  # type: ignore[arg-type]

    def _is_due(self) -> bool:
        """Return whether a sweep would find anything to do, without a call."""
        lowest = self._items.lowest("by_due")
        return self._items.has_partition("WAKE#PENDING") or (
            lowest is not None and lowest <= self.time
        )

    # ---- Receivers

    def _post(self, _: str, url: str, *, headers: Mapping[str, str], body: bytes, **__: Any) -> Any:
        attempt = self._attempted
        assert attempt is not None
        assert url.startswith("https://r")
        assert headers["webhook-id"] == f"delivery:{attempt[0]}", "a POST with another id"
        self._before("Post")
        self.observed.bodies[attempt[0]].add(body)
        bad: list[Any] = [500, 500, 429, "timeout", "refused"]
        if self._faulty:
            bad.append(410)
        answer: Any = 200 if self.rng.random() < self._success_rate else self.rng.choice(bad)
        self.observed.responses[attempt].append(answer if isinstance(answer, int) else None)
        # Other jobs run while this one waits.
        self._pass_to(
            self.time + (10 * SECOND if answer == "timeout" else self.rng.randrange(SECOND))
        )
        self._after("Post")
        if isinstance(answer, str):
            raise RequestFailed(answer)
        return Reply(answer, {"retry-after": "40"} if answer == 429 else {}, b"")


class _Strict:
    """A log of the worker that raises what it would write as a bug."""

    def exception(self, name: str, **_: Any) -> None:
        if name == "delivery_bug":
            raise AssertionError(name) from sys.exc_info()[1]

    def info(self, name: str, **_: Any) -> None:
        del name


def _answered(value: Any) -> Any:
    return value
