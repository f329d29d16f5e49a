"""From emit to received: an idle stack on the local engine, one webhook, one signal at a time."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from e2e.deployed import deployed
from e2e.people import open_tenant
from e2e.receivers import Receiver
from gatehouse_cli.local.home import Home

_WARM = 5


def measure(count: int) -> list[float]:
    """Give, for each of `count` signals, the ms from sending POST /emit to the receiver's request.

    The first few, which start the functions, are left out.
    """
    with (
        tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as folder,
        deployed(Home(Path(folder) / "home")) as stack,
        Receiver() as receiver,
    ):
        tenant = open_tenant(stack)
        made = stack.call(
            "POST", "/admin/webhooks", key=tenant.key, json={"url": receiver.url("/in")}
        )
        made.raise_for_status()
        took = []
        for number in range(_WARM + count):
            began = time.time()
            body = {"signal_type": "pulse", "content": str(number)}
            stack.call("POST", "/emit", key=tenant.key, json=body).raise_for_status()
            arrived = receiver.wait_for(number + 1)[number]
            took.append((arrived.at - began) * 1_000)
        return took[_WARM:]
