"""Measure the deliveries a second of one worker, and its CPU, with the client that runs in Lambda.

    python rates.py <rounds> <milliseconds of the receiver>

The table is a server in another process (table_server.py), and so is the receiver. This process
has nothing but the worker and the usual way, each with its own client, and writes its log lines
to nowhere. Secrets are wrapped by a settings key, and no queue is called. Prints JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "layers" / "gatehouse" / "python"), str(ROOT / "tests")]

import boto3  # noqa: E402 - its place on the path is set above
from processes import serving  # noqa: E402 - as above

_ALONE = 3  # deliveries in a round of a side that makes one at a time


def main(rounds: int, milliseconds: int) -> dict[str, list[dict[str, float]]]:
    """Measure all three, a batch or a few deliveries of each in turn."""
    with (
        serving("receiver.py", str(milliseconds)) as receiver,
        serving("table_server.py") as table,
    ):
        from delivering import BATCH, ENVIRONMENT, TABLE, Stack  # noqa: PLC0415 - it reads the level

        os.environ |= ENVIRONMENT | {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{table}",
            "GATEHOUSE_SETTINGS_KEY": "",
            "GATEHOUSE_DELIVERY_QUEUE": "http://127.0.0.1:9/queue",
            "GATEHOUSE_SLOW_DELIVERY_QUEUE": "http://127.0.0.1:9/slow",
            "HAMMURABI_SETTINGS_ENCRYPTION_KEY": base64.b64encode(bytes(range(32))).decode(),
        }
        from gatehouse.dynamo import connection  # noqa: PLC0415 - as above

        url = f"http://127.0.0.1:{receiver}/in"
        client = connection.client()

        def image(pk: str, sk: str) -> dict[str, Any]:
            key: Any = {"pk": {"S": pk}, "sk": {"S": sk}}
            return dict(client.get_item(TableName=TABLE, Key=key)["Item"])

        stack = Stack(url, image, client=client, usually=boto3.client("dynamodb"))
        stack.deliver(stack.messages(BATCH), batch=BATCH)  # decrypts the secret, fills caches
        stack.deliver_usually(1)
        found: dict[str, list[dict[str, float]]] = {"batched": [], "alone": [], "usual": []}
        for _ in range(rounds):
            batch, few = stack.messages(BATCH), stack.messages(_ALONE)
            found["batched"].append(asdict(stack.deliver(batch, batch=BATCH)))
            found["alone"].append(asdict(stack.deliver(few, batch=1)))
            found["usual"].append(asdict(stack.deliver_usually(_ALONE)))
        return found


if __name__ == "__main__":
    os.environ["POWERTOOLS_LOG_LEVEL"] = "INFO"
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        measured = main(*map(int, sys.argv[1:]))
    sys.stdout.write(json.dumps(measured))
