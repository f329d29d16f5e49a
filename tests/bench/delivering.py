"""One worker's world: a webhook in a table, the functions that deliver to it, and the usual way."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import boto3

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
from support.aws import invocation

Image = Callable[[str, str], dict[str, Any]]

BATCH = 10
TABLE = "bench"
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "GATEHOUSE_KEYS_TABLE": TABLE,
    "GATEHOUSE_MAIN_TABLE": TABLE,
    "GATEHOUSE_OUTBOUND": "local",
    "POWERTOOLS_METRICS_NAMESPACE": "bench",
}
_ACCOUNT = "0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e"
_SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # the bytes 0 to 31
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Rate:
    """Deliveries a second, and this process's seconds of CPU for 1,000."""

    a_second: float
    cpu: float


class Stack:
    """One webhook in a table, and the functions that deliver to it.

    `client` is a client of tables, `usually` that of the usual way. `image` reads the item of a
    partition key and a sort key, which nobody counts.
    """

    def __init__(self, url: str, image: Image, *, client: Any, usually: Any) -> None:
        self._image = image
        self.table = Table(TABLE, client)
        with patch.object(connection, "client", lambda: client):
            self.fanout, self.delivery = (
                invocation.load("fan_out"),
                invocation.load("delivery_worker"),
            )
        self.webhook = Webhook(ids.new(clock.now()), _ACCOUNT, url, clock.now())
        vault = vaults.vault(self.table)
        made = webhook_writes.create(self.table, vault, self.webhook, secret=_SECRET)
        transact(self.table.client, list(made.values()))
        with patch.object(boto3, "client", lambda _: usually):
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
        image = self._image(keyspace.SIGNAL.pk(_ACCOUNT, lane), signal.id)
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
        return [record(message.body) for message in sent]  # type: ignore[attr-defined]

    def deliver(self, records: list[dict[str, Any]], *, batch: int) -> Rate:
        """Deliver `batch` messages at a time."""
        begun = _times()
        for start in range(0, len(records), batch):
            event = {"Records": records[start : start + batch]}
            answer = self.delivery.handler(event, invocation.Context())
            _expect(answer == {"batchItemFailures": []})
        rate = _rate(len(records), begun)
        for one in records:
            delivery = json.loads(one["body"])["delivery"]
            place = keyspace.DELIVERY.pk(*partition_rules.partition_of(delivery))
            status = self._image(place, delivery)["status"]
            _expect(status == {"S": "delivered"})
        return rate

    def deliver_usually(self, count: int) -> Rate:
        """Deliver the usual way."""
        body = {
            "webhook": {"pk": {"S": f"WEBHOOK#{_ACCOUNT}"}, "sk": {"S": self.webhook.id}},
            "payload": {"type": "alert", "content": "the door is open"},
        }
        keys = [{"pk": {"S": f"USUAL#{ids.new(clock.now())}"}, "sk": {"S": "USUAL"}}] * count
        records = [record(json.dumps(body | {"delivery": key})) for key in keys]
        begun = _times()
        for start in range(0, count, BATCH):
            self.usual.handler({"Records": records[start : start + BATCH]}, invocation.Context())
        return _rate(count, begun)


def _load_usual() -> ModuleType:
    path = _HERE / "usual" / "delivery" / "handler.py"
    spec = importlib.util.spec_from_file_location("usual_delivery", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _times() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _rate(count: int, begun: tuple[float, float]) -> Rate:
    took, cpu = (after - before for before, after in zip(begun, _times(), strict=True))
    return Rate(count / took, cpu * 1_000 / count)


def record(body: str) -> dict[str, Any]:
    like: dict[str, Any] = invocation.event("delivery_worker")["Records"][0]
    return like | {"messageId": ids.new(clock.now()), "body": body}


def _expect(held: bool) -> None:  # noqa: FBT001 - a check
    if not held:
        raise RuntimeError("a delivery was not made: what follows would measure nothing")
