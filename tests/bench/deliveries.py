"""Measure one worker's deliveries a second, and its requests to AWS for each delivery.

The real functions use a table in memory that answers at once, so only the receiver and the
functions themselves take time. KMS and SQS are moto's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Lock
from types import ModuleType
from typing import Any
from unittest.mock import patch

import boto3
import botocore.client
from moto import mock_aws

from gatehouse.aws import clients
from gatehouse.core import clock, ids
from gatehouse.core.clock import SECOND
from gatehouse.deliveries import messages, partition_rules
from gatehouse.dynamo import connection, keyspace
from gatehouse.dynamo.table import Table, transact
from gatehouse.secrets import actions as vaults
from gatehouse.signals import store as signals
from gatehouse.signals.model import Signal
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import Webhook
from support.aws import invocation, resources
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.write_units import counted

RECEIVER_MS = 50
BATCH = 10
ROUNDS = 60
_ALONE = 3  # deliveries in a round of a side that makes one at a time
_TABLE = "bench"
_PROPERTIES = resources.table_properties("MainTable")
_ACCOUNT = "0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e"
_SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Rates:
    """Deliveries per second, one rate for each round."""

    batched: list[float]
    alone: list[float]
    usual: list[float]

    @property
    def ratio(self) -> float:
        """The median rate of whole batches, divided by the rate of one message at a time."""
        return median(self.batched) / median(self.alone)


@dataclass
class Asked:
    """Requests to AWS by name, and the write units by item."""

    requests: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)

    def requests_to(self, service: str) -> str:
        """Return the requests to a service as text."""
        found = {
            name.partition(".")[2]: count
            for name, count in self.requests.items()
            if name.startswith(f"{service}.")
        }
        return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"

    def written(self) -> str:
        """Return the write units by item as text."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.units.items()))
        return f"{self.units.total()} ({kinds})" if kinds else "none"


class _Counting:
    """A client of the table in memory: one call at a time."""

    def __init__(self) -> None:
        self.memory = MemoryDynamo()
        self.memory.add_table(_TABLE, _PROPERTIES)
        self._lock = Lock()

    def image(self, pk: str, sk: str) -> dict[str, Any]:
        return self.memory.table(_TABLE).items[pk, sk]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self.memory, name)

        def call(**request: Any) -> Any:
            with self._lock:
                return operation(**request)

        return call


class Stack:
    """One webhook in a table in memory, and the functions that deliver to it."""

    def __init__(self, url: str) -> None:
        self.client = _Counting()
        self.table = Table(_TABLE, self.client)  # type: ignore[arg-type]
        with patch.object(connection, "client", lambda: self.client):
            self.fanout, self.delivery = (
                invocation.load("fan_out"),
                invocation.load("delivery_worker"),
            )
        self.webhook = Webhook(ids.new(clock.now()), _ACCOUNT, url, clock.now())
        vault = vaults.vault(self.table)
        made = webhook_writes.create(self.table, vault, self.webhook, secret=_SECRET)
        transact(self.table.client, list(made.values()))
        with patch.object(boto3, "client", lambda _: self.client):
            self.usual = _load_usual()

    def emit(self) -> Signal:
        """Store a signal that is not fanned out yet."""
        now = clock.now()
        signal = Signal(
            id=ids.new(now),
            account_id=_ACCOUNT,
            type="alert",
            content="the door is open",
            from_identity=f"identity:{_ACCOUNT}",
            created_at=now,
            expires_at=now + 30 * 86_400 * SECOND,
        )
        signals.insert(self.table, signal)
        return signal

    def fan_out(self, signal: Signal) -> None:
        """Pass a signal to the function that reads the stream."""
        lane = int(signal.id[-1], 16)
        image = self.client.image(keyspace.SIGNAL.pk(_ACCOUNT, lane), signal.id)
        record = {"dynamodb": {"SequenceNumber": "1", "NewImage": image}}
        answer = self.fanout.handler({"Records": [record]}, invocation.Context())
        _expect(answer == {"batchItemFailures": []})

    def messages(self, count: int) -> list[dict[str, Any]]:
        """Create deliveries, and return their messages as SQS records."""
        sent: list[dict[str, Any]] = []
        kept = patch.object(
            type(messages.queues().fast), "_send", lambda _, some: sent.extend(some)
        )
        with kept:
            for _ in range(count):
                self.fan_out(self.emit())
        return [_record(message.body) for message in sent]  # type: ignore[attr-defined]

    def deliver(self, records: list[dict[str, Any]], *, batch: int) -> float:
        """Deliver `batch` messages at a time; return the deliveries a second."""
        started = time.perf_counter()
        for start in range(0, len(records), batch):
            event = {"Records": records[start : start + batch]}
            answer = self.delivery.handler(event, invocation.Context())
            _expect(answer == {"batchItemFailures": []})
        took = time.perf_counter() - started
        for record in records:
            delivery = json.loads(record["body"])["delivery"]
            place = keyspace.DELIVERY.pk(*partition_rules.partition_of(delivery))
            status = self.client.image(place, delivery)["status"]
            _expect(status == {"S": "delivered"})
        return len(records) / took

    def deliver_usually(self, count: int) -> float:
        """Deliver the usual way; return the deliveries a second."""
        body = {
            "webhook": {"pk": {"S": f"WEBHOOK#{_ACCOUNT}"}, "sk": {"S": self.webhook.id}},
            "payload": {"type": "alert", "content": "the door is open"},
        }
        keys = [{"pk": {"S": f"USUAL#{ids.new(clock.now())}"}, "sk": {"S": "USUAL"}}] * count
        records = [_record(json.dumps(body | {"delivery": key})) for key in keys]
        started = time.perf_counter()
        for start in range(0, count, BATCH):
            self.usual.handler({"Records": records[start : start + BATCH]}, invocation.Context())
        return count / (time.perf_counter() - started)


def rates() -> Rates:
    """Measure all three, a batch or a few deliveries of each in turn."""
    found = Rates([], [], [])
    with _receiver() as url, _stack(url) as stack:
        stack.deliver(stack.messages(BATCH), batch=BATCH)  # decrypts the secret and fills caches
        stack.deliver_usually(1)
        for _ in range(ROUNDS):
            found.batched.append(stack.deliver(stack.messages(BATCH), batch=BATCH))
            found.alone.append(stack.deliver(stack.messages(_ALONE), batch=1))
            found.usual.append(stack.deliver_usually(_ALONE))
    return found


def steps() -> list[tuple[str, Asked]]:
    """Count the requests to AWS of each step of a webhook's first and next delivery."""
    found = []
    with _receiver(milliseconds=0) as url, _stack(url) as stack:
        client = boto3.client("sqs")

        def count(name: str, act: Callable[[], Any]) -> Any:
            asked = Asked()
            with counted(stack.client.memory) as written, _watched(asked):
                done = act()
            asked.requests.update(
                {f"dynamodb.{name}": times for name, times in written.requests.items()}
            )
            asked.units.update(written.units)
            found.append((name, asked))
            return done

        for which in ("first", "next"):
            signal = count(f"{which} signal: stored", stack.emit)
            count(f"{which} signal: fan-out", lambda signal=signal: stack.fan_out(signal))
            queue = os.environ["GATEHOUSE_DELIVERY_QUEUE"]
            [message] = client.receive_message(QueueUrl=queue)["Messages"]
            client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            records = [_record(message["Body"])]
            count(
                f"{which} signal: attempt",
                lambda records=records: stack.deliver(records, batch=BATCH),
            )
    return found


@contextlib.contextmanager
def _receiver(milliseconds: int = RECEIVER_MS) -> Iterator[str]:
    command = [sys.executable, str(_HERE / "receiver.py"), str(milliseconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/in"
        process.stdin.close()


@contextlib.contextmanager
def _stack(url: str) -> Iterator[Stack]:
    environment = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "GATEHOUSE_KEYS_TABLE": _TABLE,
        "GATEHOUSE_MAIN_TABLE": _TABLE,
        "GATEHOUSE_OUTBOUND": "local",
        "POWERTOOLS_METRICS_NAMESPACE": "bench",
    }
    quiet = contextlib.redirect_stdout(io.StringIO())
    with mock_aws(), patch.dict(os.environ, environment), quiet:
        os.environ["GATEHOUSE_SETTINGS_KEY"] = resources.make_settings_key()
        os.environ["GATEHOUSE_DELIVERY_QUEUE"] = resources.make_queue("bench")
        os.environ["GATEHOUSE_SLOW_DELIVERY_QUEUE"] = resources.make_queue("slow")
        _forget()
        yield Stack(url)
        _forget()


def _forget() -> None:
    for made in (connection.client, clients.kms, clients.sqs, connection.tables, messages.queues):
        made.cache_clear()


@contextlib.contextmanager
def _watched(asked: Asked) -> Iterator[None]:
    """Count the requests of every botocore client."""
    call = botocore.client.BaseClient._make_api_call  # noqa: SLF001 - every request goes through it

    def counted(client: Any, operation: str, parameters: Any) -> Any:
        asked.requests[f"{client.meta.service_model.service_name}.{operation}"] += 1
        return call(client, operation, parameters)

    with patch.object(botocore.client.BaseClient, "_make_api_call", counted):
        yield


def _load_usual() -> ModuleType:
    path = _HERE / "usual" / "delivery" / "handler.py"
    spec = importlib.util.spec_from_file_location("usual_delivery", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _record(body: str) -> dict[str, Any]:
    like: dict[str, Any] = invocation.event("delivery_worker")["Records"][0]
    return like | {"messageId": ids.new(clock.now()), "body": body}


def _expect(held: bool) -> None:  # noqa: FBT001 - a check
    if not held:
        raise RuntimeError("a delivery was not made: what follows would measure nothing")
