"""Count the requests to AWS of one delivery. Tables are in memory; KMS and SQS are moto's."""

from __future__ import annotations

import contextlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import boto3
import botocore.client
from delivering import BATCH, ENVIRONMENT, TABLE, Stack, record
from moto import mock_aws
from processes import serving

from gatehouse.aws import clients
from gatehouse.deliveries import messages
from gatehouse.dynamo import connection
from support.aws import resources
from support.aws.memory_dynamo import MemoryDynamo
from support.aws.write_units import counted

_PROPERTIES = resources.table_properties("MainTable")


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


def steps() -> list[tuple[str, Asked]]:
    """Count the requests to AWS of each step of a webhook's first and next delivery."""
    found = []
    with serving("receiver.py", "0") as port, _stack(f"http://127.0.0.1:{port}/in") as world:
        stack, memory = world
        client = boto3.client("sqs")

        def count(name: str, act: Callable[[], Any]) -> Any:
            asked = Asked()
            with counted(memory) as written, _watched(asked):
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
            records = [record(message["Body"])]
            count(
                f"{which} signal: attempt",
                lambda records=records: stack.deliver(records, batch=BATCH),
            )
    return found


@contextlib.contextmanager
def _stack(url: str) -> Iterator[tuple[Stack, MemoryDynamo]]:
    memory = MemoryDynamo()
    memory.add_table(TABLE, _PROPERTIES)
    quiet = contextlib.redirect_stdout(io.StringIO())
    with mock_aws(), patch.dict(os.environ, ENVIRONMENT), quiet:
        os.environ["GATEHOUSE_SETTINGS_KEY"] = resources.make_settings_key()
        os.environ["GATEHOUSE_DELIVERY_QUEUE"] = resources.make_queue("bench")
        os.environ["GATEHOUSE_SLOW_DELIVERY_QUEUE"] = resources.make_queue("slow")
        _forget()
        items = memory.table(TABLE).items
        yield Stack(url, lambda *key: items[key], client=memory, usually=memory), memory
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
