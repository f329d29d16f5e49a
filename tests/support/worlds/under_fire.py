"""The deliveries' part of the stack under load, in virtual time.

Table, stream, queues, receivers and environments have the sizes and settings of template.yaml, and
the functions are the real ones. Only KMS and the outbound requests are replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.core import ids
from gatehouse.core.clock import DAY, SECOND, Micros
from gatehouse.core.observe import logger
from gatehouse.dynamo import connection
from gatehouse.dynamo.table import Table, Tables, transact
from gatehouse.outbound import client as outbound
from gatehouse.secrets import actions as vaults
from gatehouse.signals import store as signal_store
from gatehouse.signals.model import Signal
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Webhook
from support.actors.virtual_receivers import VirtualReceivers
from support.aws import resources
from support.aws.memory_kms import MemoryKms
from support.aws.throttled_table import Limits, ThrottledDynamo
from support.aws.virtual_lambda import QueueWorkers, StreamReaders
from support.aws.virtual_queue import VirtualQueue, VirtualSqs
from support.aws.virtual_threads import in_virtual_time
from support.aws.virtual_time import VirtualTime

START: Micros = 1_800_000_000 * SECOND
SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31
KMS_SECONDS = 0.010


class FireWorld:
    """Accounts with webhooks, and whatever of the stack a test starts."""

    def __init__(self, seed: int, limits: Limits | None) -> None:
        self.time = VirtualTime(START, seed)
        self.dynamo = ThrottledDynamo(self.time, limits)
        self.sqs = VirtualSqs(self.time)
        self.receivers = VirtualReceivers(self.time)
        self.kms = MemoryKms(lambda: self.time.sleep(KMS_SECONDS))
        self.workers: dict[str, QueueWorkers] = {}
        self.readers: dict[str, StreamReaders] = {}
        self.signals: list[Signal] = []
        self._template = resources.template()

    @property
    def table(self) -> Table:
        """The table `main`."""
        return connection.tables().main

    @property
    def tables(self) -> Tables:
        """Both tables."""
        return connection.tables()

    # ---- What there is before a run --------------------------------------------------------------

    def account(self) -> str:
        """Return the id of another account."""
        return ids.new(self.time.now)

    def webhook(self, account: str, host: str, **fields: Any) -> Webhook:
        """Create a webhook whose receiver is at a host."""
        webhook = Webhook(
            ids.new(self.time.now), account, f"https://{host}/in", self.time.now, **fields
        )
        writes = webhook_writes.create(self.table, vaults.vault(self.table), webhook, secret=SECRET)
        transact(self.table.client, list(writes.values()))
        return webhook

    def webhooks(self, account: str, count: int, prefix: str = "r", **fields: Any) -> list[Webhook]:
        """Create webhooks with a receiver of their own each."""
        return [
            self.webhook(account, f"{prefix}{number}.example", **fields) for number in range(count)
        ]

    # ---- What happens during a run ---------------------------------------------------------------

    def emit(self, account: str, **fields: Any) -> Signal:
        """Store a signal, which the stream's readers then fan out."""
        now = self.time.now
        values = {
            "id": ids.new(now),
            "account_id": account,
            "type": "alert",
            "content": "hot",
            "from_identity": "identity:x",
            "created_at": now,
            "expires_at": now + 30 * DAY,
        }
        signal = Signal(**(values | fields))
        signal_store.insert(self.table, signal)
        self.signals.append(signal)
        return signal

    def emit_steadily(
        self, accounts: Sequence[str], *, rate: float, seconds: float, at_once: int = 8
    ) -> None:
        """Emit `rate` signals a second for a time, in turn for these accounts, from few threads."""
        begins_at, total = self.time.seconds, round(rate * seconds)

        def act(first: int) -> None:
            for number in range(first, total, at_once):
                self.time.sleep(begins_at + number / rate - self.time.seconds)
                self.emit(accounts[number % len(accounts)])

        actors = [self.time.spawn(lambda n=n: act(n), "emitter") for n in range(at_once)]
        for actor in actors:
            self.time.join(actor)

    def start_readers(self, *, shards: int = 1, function: str = "FanOutFunction") -> StreamReaders:
        """Start the readers of the table's stream."""
        properties = self._template["Resources"][function]["Properties"]
        [settings] = [
            event["Properties"]
            for event in properties["Events"].values()
            if event["Type"] == "DynamoDB"
        ]
        readers = StreamReaders(
            self.time,
            properties["CodeUri"].rpartition("/")[2],
            patterns=[one["Pattern"] for one in settings["FilterCriteria"]["Filters"]],
            shards=shards,
            factor=settings.get("ParallelizationFactor", 1),
            batch=settings["BatchSize"],
            window=settings.get("MaximumBatchingWindowInSeconds", 0),
        )
        self.dynamo.watchers.append(readers.watch)
        self.readers[function] = readers
        return readers

    def start_workers(self, *, share: float = 1) -> None:
        """Start the functions that receive messages of deliveries, as the template says.

        With a share of their environments: these are independent, so a share of the load does the
        same to them.
        """
        for name, resource in self._template["Resources"].items():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            group = str(resource["Properties"]["CodeUri"]).rpartition("/")[2]
            for event in resource["Properties"].get("Events", {}).values():
                if event["Type"] != "SQS" or "delivery" not in group:
                    continue
                settings = event["Properties"]
                most = self._value(settings["ScalingConfig"]["MaximumConcurrency"])
                self.workers[name] = QueueWorkers(
                    self.time,
                    self.sqs.queues[settings["Queue"]["Fn::GetAtt"][0]],
                    group,
                    concurrency=max(1, round(most * share)),
                    batch=self._value(settings["BatchSize"]),
                    window=self._value(settings.get("MaximumBatchingWindowInSeconds", 0)),
                )

    @property
    def queue(self) -> VirtualQueue:
        """The queue of deliveries."""
        return self.sqs.queues["DeliveryQueue"]

    def _value(self, value: Any) -> int:
        """Return a number of the template; a reference is its parameter's default."""
        if isinstance(value, dict):
            value = self._template["Parameters"][value["Ref"]]["Default"]
        return int(value)

    # ---- What is around it -----------------------------------------------------------------------

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Give rooms and functions this world's AWS, until the patch ends."""
        for name, resource in self._template["Resources"].items():
            if resource["Type"] == "AWS::SQS::Queue":
                self.sqs.add(
                    name,
                    visibility=resource["Properties"].get("VisibilityTimeout", 30),
                    receives=resource["Properties"]
                    .get("RedrivePolicy", {})
                    .get("maxReceiveCount", 10**9),
                )
            if resource["Type"] == "AWS::Serverless::Function":
                variables = resource["Properties"].get("Environment", {}).get("Variables", {})
                for variable, value in variables.items():
                    if isinstance(value, dict) and value.get("Ref") in self.sqs.queues:
                        patch.setenv(variable, value["Ref"])
        for variable, value in resources.make_tables(self.dynamo, "fire").items():
            patch.setenv(variable, value)
        patch.setenv("GATEHOUSE_SETTINGS_KEY", "key")
        patch.delenv("GATEHOUSE_EMBEDDING_QUEUE", raising=False)
        patch.setattr(connection, "client", lambda: self.dynamo)
        patch.setattr(clients, "sqs", lambda: self.sqs)
        patch.setattr(clients, "kms", lambda: self.kms)
        patch.setattr(
            outbound.Sender, "send", lambda _, *args, **kw: self.receivers.send(*args, **kw)
        )


@contextmanager
def under_fire(*, seed: int = 0, limits: Limits | None = None) -> Iterator[FireWorld]:
    """Make a world, in virtual time until the block ends."""
    level = logger.log_level
    with pytest.MonkeyPatch.context() as patch:
        world = FireWorld(seed, limits)
        world.install(patch)
        logger.setLevel("CRITICAL")
        try:
            with in_virtual_time(world.time, seed):
                yield world
        finally:
            logger.setLevel(level)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
