"""Receivers that hang, beside an account that is idle most of the time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from support.actors.deployed_tenant import Tenant, open_tenant
from support.actors.http_receiver import Receiver
from support.actors.http_receiver_server import Hold
from support.worlds.deployed_stack import Deployed

SIGNALS = 20
WITHIN = 60.0


def webhook(tenant: Tenant, url: str) -> str:
    made = tenant.call("POST", "/admin/webhooks", json={"url": url, "retry_schedule": [60]})
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["id"])


def wait_until_attempted(tenant: Tenant, webhooks: list[str]) -> None:
    """Wait until a first attempt to each of these has ended."""
    for one in webhooks:
        deadline = time.monotonic() + WITHIN
        while True:
            listed = tenant.call("GET", f"/admin/webhooks/{one}/deliveries").json()["data"]
            if any(delivery["attempt_count"] for delivery in listed):
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)


def emit(tenant: Tenant) -> float:
    """Emit a signal; return when the request was sent."""
    at = time.time()
    emitted = tenant.call("POST", "/emit", json={"signal_type": "alert", "content": "hot"})
    assert emitted.status_code == 201, emitted.text
    return at


def waits(tenant: Tenant, receiver: Receiver) -> list[float]:
    """Return the seconds from emit to received of signals that are emitted one after the other."""
    found = []
    for _ in range(SIGNALS):
        known = len(receiver.requests())
        at = emit(tenant)
        found.append(receiver.wait_for(known + 1)[-1].at - at)
    return found


@pytest.mark.alone
def test_an_idle_account_s_deliveries_are_as_fast_beside_three_endpoints_that_hang(
    stack: Deployed, record_property: Callable[[str, object], None]
) -> None:
    idle, busy = open_tenant(stack), open_tenant(stack)
    with Receiver() as receiver, Receiver() as hanging:
        webhook(idle, receiver.url("/in"))
        waits(idle, receiver)  # until the functions are warm
        usual = waits(idle, receiver)
        for number in range(3):
            hanging.on(f"/{number}", Hold())
        hooks = [webhook(busy, hanging.url(f"/{number}")) for number in range(3)]
        emit(busy)
        first = hanging.wait_for(3)
        wait_until_attempted(busy, hooks)  # so they are known to be slow
        for _ in range(5):
            emit(busy)
        hanging.wait_for(len(first) + 3)  # the slow lane waits for them

        beside = waits(idle, receiver)

    record_property("usual", [statistics.median(usual), max(usual)])
    record_property("beside", [statistics.median(beside), max(beside)])
    # Half as long again, and some milliseconds, are within what two equal runs differ by.
    assert statistics.median(beside) < 1.5 * statistics.median(usual) + 0.05
    assert max(beside) < max(usual) + 5, "no delivery waits for a timeout"
