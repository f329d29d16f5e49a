"""What takes minutes of real time on the deployed stack: it starts first and waits together.

Delays of deliveries are in test_deliveries.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from support.actors.deployed_function import Function, listed, until, wait_until_listed
from support.actors.deployed_tenant import Tenant, the_operator
from support.actors.log_viewer import Viewer
from support.actors.log_writer import LogWriter
from support.worlds.deployed_stack import Deployed

MINUTE = 60.0


@dataclass
class Filter:
    """When the subscription filter of a group was seen, after its last viewer had left."""

    left_at: float = 0.0
    seen_at: list[float] = field(default_factory=list)
    gone_at: float | None = None


@pytest.fixture(scope="module")
def operator(stack: Deployed) -> Tenant:
    return the_operator(stack)


@pytest.fixture(scope="module")
def writer(stack: Deployed, operator: Tenant) -> Iterator[LogWriter]:
    made = LogWriter(stack)
    wait_until_listed(operator, made.service)
    yield made
    made.delete()


@pytest.fixture(scope="module")
def unwatched(stack: Deployed, operator: Tenant) -> Iterator[Filter]:
    """Look at a group's logs for a moment; then record every second whether its filter is there."""
    made = LogWriter(stack)
    wait_until_listed(operator, made.service)
    found = Filter()
    with Viewer(stack, made.service) as viewer:
        viewer.wait_for_backlog()
        assert len(made.filters()) == 1
    found.left_at = time.monotonic()

    def look() -> None:
        while time.monotonic() - found.left_at < 5 * MINUTE:
            if not made.filters():
                found.gone_at = time.monotonic()
                return
            found.seen_at.append(time.monotonic())
            time.sleep(1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield found
    thread.join(6 * MINUTE)
    made.delete()


@pytest.mark.usefixtures("unwatched")
def test_a_revoked_key_s_socket_is_closed_within_a_minute(
    stack: Deployed, operator: Tenant, writer: LogWriter
) -> None:
    made = operator.make_key(scopes=["services:read"])
    with (
        Viewer(stack, writer.service, key=made["key"]).wait_for_backlog() as revoked,
        Viewer(stack, writer.service).wait_for_backlog() as other,
    ):
        assert operator.call("DELETE", f"/v1/api-keys/{made['id']}").is_success
        assert revoked.ended.wait(MINUTE + 20), "the sweeper runs every minute"
        assert revoked.frames[-1]["type"] == "exit"
        assert "key" in revoked.frames[-1]["reason"]
        line = f"still here {uuid.uuid4().hex}"
        writer.write(line)
        other.wait_for(line)
        assert not revoked.messages()[-1].endswith(line)


def test_a_new_function_is_found_by_its_tag_within_half_a_minute(
    stack: Deployed, operator: Tenant
) -> None:
    function = Function(stack)
    until(lambda: function.service in listed(operator), "a search is used for 30 s", every=2.0)
    function.delete()


@pytest.mark.passive
@pytest.mark.timeout(600)
def test_a_filter_is_removed_after_its_last_viewer_left(unwatched: Filter) -> None:
    until_gone = unwatched.left_at + 5 * MINUTE
    while unwatched.gone_at is None and time.monotonic() < until_gone:
        time.sleep(1)
    assert unwatched.gone_at is not None


@pytest.mark.passive
def test_the_filter_stays_for_two_minutes(unwatched: Filter) -> None:
    assert unwatched.seen_at[-1] - unwatched.left_at >= 2 * MINUTE - 5


@pytest.mark.passive
def test_the_filter_is_gone_within_four_minutes(unwatched: Filter) -> None:
    assert unwatched.gone_at is not None
    assert unwatched.gone_at - unwatched.left_at <= 4 * MINUTE + 5
