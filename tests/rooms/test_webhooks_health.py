"""What deliveries record about a webhook: successes, failures, and that it is disabled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Origin
from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.dynamo.table import TransactionCanceled, transact
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import health
from gatehouse.webhooks import writes as webhook_writes
from support.actors.visitor import Visitor
from support.actors.webhook_owner import create, marker, reread, update
from support.aws.faults import Wire, error, first, no_answer
from support.checks.invariants import check_invariants, kind

pytestmark = pytest.mark.usefixtures("loopback_allowed")


WORKER = Origin(actor="system:delivery", request_id="delivery")


def test_failures_are_counted_and_a_success_clears_the_count(caller: Visitor, vault: Vault) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    for _ in range(3):
        health.record_failure(main, one, now=caller.now)
    after = reread(caller, one)
    assert (after.failure_count, after.failing, after.last_failure_at) == (3, False, caller.now)
    transact(main.client, [webhook_writes.mark_failing(main, one, now=caller.now + 1)])
    after = reread(caller, one)
    assert (after.failure_count, after.failing, after.last_failure_at) == (3, True, caller.now + 1)
    health.record_success(main, after, now=caller.now + 2)
    after = reread(caller, one)
    assert (after.failure_count, after.failing, after.last_success_at) == (0, False, caller.now + 2)
    assert after.version == 1, "statistics do not change the version"


def test_successes_are_recorded_at_most_once_a_minute(
    caller: Visitor, vault: Vault, room_line: Wire
) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    health.record_success(main, one, now=caller.now)
    health.record_success(
        main, one, now=caller.now + 1
    )  # by a worker that read it before the first
    assert reread(caller, one).last_success_at == caller.now
    room_line.clear()
    health.record_success(main, replace(one, last_success_at=caller.now), now=caller.now + MINUTE)
    assert room_line.calls == []
    health.record_success(main, reread(caller, one), now=caller.now + MINUTE + 1)
    assert reread(caller, one).last_success_at == caller.now + MINUTE + 1


def test_a_success_within_the_minute_still_clears_failures(caller: Visitor, vault: Vault) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    health.record_success(main, one, now=caller.now)
    health.record_failure(main, one, now=caller.now + 1)
    transact(main.client, [webhook_writes.mark_failing(main, one, now=caller.now + 1)])
    health.record_success(main, reread(caller, one), now=caller.now + SECOND)
    after = reread(caller, one)
    assert (after.failing, after.failure_count) == (False, 0)


def test_records_about_a_deleted_webhook_do_nothing_and_do_not_restore_it(
    caller: Visitor, vault: Vault
) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    webhooks.remove(main, caller.call(), one.id)
    health.record_success(main, one, now=caller.now)
    health.record_failure(main, one, now=caller.now)
    for write in (
        webhook_writes.mark_failing(main, one, now=caller.now),
        webhook_writes.check_unchanged(main, one),
    ):
        with pytest.raises(TransactionCanceled):
            transact(main.client, [write])
    assert kind(check_invariants(caller.tables, now=caller.now), "WEBHOOK#") == []


def test_a_record_retries_on_conflict_and_then_gives_up_without_an_error(
    caller: Visitor, vault: Vault, room_line: Wire, sleeps: list[float]
) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    busy = lambda: error("TransactionConflictException")  # noqa: E731
    room_line.before = first(2, busy, "UpdateItem")
    health.record_failure(main, one, now=caller.now)
    assert (reread(caller, one).failure_count, len(sleeps)) == (1, 2)
    room_line.before = first(99, busy, "UpdateItem")
    health.record_failure(main, one, now=caller.now)
    for fault in (lambda: error("ThrottlingException"), no_answer):
        room_line.before = first(1, fault, "UpdateItem")
        health.record_failure(main, one, now=caller.now)
        room_line.before = first(1, fault, "UpdateItem")
        health.record_success(main, one, now=caller.now)
    after = reread(caller, one)
    assert (after.failure_count, after.last_success_at) == (1, None)


def test_check_unchanged_fails_after_an_update_but_not_after_statistics(
    caller: Visitor, vault: Vault
) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    health.record_failure(main, one, now=caller.now)
    transact(main.client, [webhook_writes.check_unchanged(main, one), marker(main, "parked")])
    update(caller, vault, one, active=False)
    with pytest.raises(TransactionCanceled):
        transact(main.client, [webhook_writes.check_unchanged(main, one), marker(main, "late")])


def test_a_disabled_webhook_has_an_audit_event_and_can_be_activated_again(
    caller: Visitor, vault: Vault
) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    also = {"marker": marker(main)}
    health.disable(main, one, reason="gone", also=also, origin=WORKER, now=caller.now)
    after = reread(caller, one)
    assert (after.active, after.disabled_reason, after.version) == (False, "gone", 2)
    event = check_invariants(caller.tables, now=caller.now).events(caller.account_id)[-1]
    assert (event["action"], event["actor"]) == ("webhook.disable", "system:delivery")
    again = update(caller, vault, one, active=True)
    assert (again.active, again.disabled_reason) == (True, None)
    with pytest.raises(audit.Refused) as refused:
        health.disable(main, after, reason="gone", also={}, origin=WORKER, now=caller.now)
    assert set(refused.value.failed) == {"webhook"}
    assert reread(caller, one).active
    check_invariants(caller.tables, now=caller.now)
