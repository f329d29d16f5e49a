"""The sweeper completes what crashes left undone, and raises if it cannot."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from gatehouse.core import clock
from gatehouse.core.errors import Unavailable
from gatehouse.dynamo.answers import CallRefused
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from support.actors.members import SWEEPER, change, member, unlimited_admin, visitor_with
from support.actors.visitor import Visitor, key_request
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error
from support.aws.invocation import Context, event
from support.checks.invariants import check_invariants, check_owners_of_keys

BATCH = 25
SHARDS, SIGNAL_SHARDS = 64, 32

pytestmark = pytest.mark.usefixtures("delivery_queue", "relay_queue")


def _half_done(stack: Tables, line: Wire, admin: Visitor) -> Visitor:
    """Suspend a member and die before the first key is changed."""
    target = member(admin)
    line.clear()
    line.before = lambda *_: (
        error("ThrottlingException") if "TransactWriteItems" in line.calls[:-1] else None
    )
    with pytest.raises(Unavailable):
        change(admin, target, status="suspended")
    line.clear()
    assert visitor_with(stack, target.minted, admin.now).principal.membership == "active"
    return target


def test_keys_that_a_crash_left_unchanged_are_changed_batch_by_batch(
    front: Front, stack: Tables, line: Wire, logs: io.StringIO
) -> None:
    sweeper = front.function("sweeper")
    admin = unlimited_admin(stack)
    left = [_half_done(stack, line, admin) for _ in range(BATCH + 2)]
    done = [sweeper.handler(event("sweeper"), Context())["memberships"] for _ in range(3)]
    assert done == [BATCH, 2, 0]
    state = check_invariants(stack, now=admin.now)
    check_owners_of_keys(state, now=admin.now)
    assert len(left) == BATCH + 2
    lines = [json.loads(text) for text in logs.getvalue().splitlines()]
    assert [line["memberships"] for line in lines if line["message"] == "swept"] == [BATCH, 2]


def test_keys_that_the_sweeper_narrows_have_audit_events_of_the_sweeper(
    front: Front, stack: Tables, line: Wire
) -> None:
    sweeper, admin = front.function("sweeper"), unlimited_admin(stack)
    target = member(admin)
    line.clear()
    line.before = lambda *_: (
        error("ThrottlingException") if "TransactWriteItems" in line.calls[:-1] else None
    )
    with pytest.raises(Unavailable):
        change(admin, target, scopes=("services:read",))
    line.clear()
    context = Context()
    assert sweeper.handler({}, context)["memberships"] == 1
    events = check_invariants(stack, now=admin.now).events(admin.account_id)
    (narrowed,) = [event for event in events if event["action"] == "api_key.update"]
    assert narrowed["actor"] == SWEEPER.actor
    assert narrowed["request_id"] == context.aws_request_id
    assert narrowed["after"]["scopes"] == ["services:read"]


@pytest.mark.parametrize("operation", ["Query", "UpdateItem"])
def test_while_the_table_is_unavailable_the_sweeper_raises_and_later_completes(
    front: Front, stack: Tables, line: Wire, operation: str
) -> None:
    sweeper, admin = front.function("sweeper"), unlimited_admin(stack)
    _half_done(stack, line, admin)
    line.before = lambda _, called: error("ThrottlingException") if called == operation else None
    with pytest.raises(Unavailable):
        sweeper.handler({}, Context())
    line.clear()
    assert sweeper.handler({}, Context())["memberships"] == 1
    check_owners_of_keys(check_invariants(stack, now=admin.now), now=admin.now)


def test_no_error_in_endings_stops_other_accounts_and_duties(
    front: Front, stack: Tables, line: Wire, logs: io.StringIO
) -> None:
    sweeper = front.function("sweeper")
    # One ending each: of several, each is tried by itself after a failure.
    admin, other, third = (unlimited_admin(stack) for _ in range(3))
    for one in (admin, other):
        made = keys.create(stack, one.call(), key_request())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gatehouse.audit.endings.record", lambda *_, **__: None)
            keys.revoke(stack, one.call(), made.key.id)
    _half_done(stack, line, third)
    refused: list[int] = []

    def refuse_the_first(number: int, operation: str) -> Any:
        if operation == "TransactWriteItems" and not refused:
            refused.append(number)
            return error("AccessDeniedException")
        return None

    line.before = refuse_the_first
    with pytest.raises(CallRefused):
        sweeper.handler({}, Context())
    line.clear()
    state = check_invariants(stack, now=other.now)
    accounts = [one.account_id for one in (admin, other, third)]
    left = {account_id: len(state.endings(account_id)) for account_id in accounts}
    (account_id,) = [one for one, waiting in left.items() if waiting]
    check_owners_of_keys(state, now=other.now)
    lines = [json.loads(text) for text in logs.getvalue().splitlines()]
    failed = [entry for entry in lines if entry["level"] == "ERROR"]
    assert [entry["message"] for entry in failed] == ["endings_left", "duty_failed"]
    assert failed[0]["account_id"] == account_id
    assert "AccessDeniedException" in failed[0]["exception"]
    assert sweeper.handler({}, Context())["endings"] == left[account_id]


def test_a_sweep_with_nothing_to_do_reads_each_place_once_and_logs_nothing(
    front: Front,
    stack: Tables,
    line: Wire,
    logs: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del stack
    sweeper = front.function("sweeper")
    later = clock.now() + clock.HOUR
    monkeypatch.setattr(clock, "now", lambda: later)
    sweeper.handler({}, Context())  # forgets the accounts of other tests
    line.clear()
    assert not any(sweeper.handler({}, Context()).values())
    # Four kinds of markers, due deliveries, signals to fan out, and watched log groups; no queue.
    assert line.calls == ["Query"] * (4 + SHARDS + SIGNAL_SHARDS + 1)
    assert logs.getvalue() == ""
