"""Webhooks are created, changed, rotated, disabled and deleted, each with its audit event."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Origin
from gatehouse.core.clock import DAY, MINUTE, SECOND
from gatehouse.core.errors import (
    BoundReached,
    FieldRequired,
    IdempotencyReused,
    NotFound,
    Unavailable,
)
from gatehouse.dynamo.table import Table, TransactionCanceled, transact
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.rules import WrongPlace
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import health, rotation
from gatehouse.webhooks import writes as webhook_writes
from gatehouse.webhooks.model import (
    MOST_WEBHOOKS,
    CreatedWebhook,
    Material,
    NewFilters,
    RotatedSecret,
    Webhook,
    WebhookFields,
)
from gatehouse.webhooks.secret_cache import SecretCache
from support.actors.members import unlimited_admin
from support.actors.visitor import Visitor
from support.aws.faults import Wire, error, first
from support.checks.inspection import State
from support.checks.invariants import check_invariants, counter_value, kind

pytestmark = pytest.mark.usefixtures("loopback_allowed")

URL = "http://127.0.0.1:9000/in"
WORKER = Origin(actor="system:delivery", request_id="delivery")


def create(caller: Visitor, vault: Vault, **fields: Any) -> CreatedWebhook:
    wanted = WebhookFields(**{"url": URL, **fields})
    return webhooks.create(caller.tables.main, caller.call(), vault, fields=wanted)


def update(caller: Visitor, vault: Vault, webhook: Webhook, **fields: Any) -> Webhook:
    wanted = WebhookFields(**fields)
    changed = webhooks.update(caller.tables.main, caller.call(), vault, webhook.id, fields=wanted)
    return changed.webhook


def rotate(
    caller: Visitor, vault: Vault, webhook: Webhook, grace: int | None = None
) -> RotatedSecret:
    return rotation.rotate_secret(
        caller.tables.main, caller.call(), vault, webhook.id, grace_seconds=grace
    )


def reread(caller: Visitor, webhook: Webhook) -> Webhook:
    return webhooks.get(caller.tables.main, caller.account_id, webhook.id)


def find_material(caller: Visitor, vault: Vault, webhook: Webhook) -> Material | None:
    return SecretCache(caller.tables.main, vault).find_material(webhook, now=caller.now)


def live(caller: Visitor, vault: Vault, webhook: Webhook) -> tuple[str, ...]:
    material = find_material(caller, vault, webhook)
    assert material is not None
    return material.secrets


def marker(table: Table, name: str = "marker") -> Any:
    return table.put_new({"pk": f"MARK#{name}", "sk": "MARK"})


# ---- Created, read, changed, deleted -----------------------------------------------------------


def test_a_created_webhook_is_stored_and_its_secret_shown_once(
    caller: Visitor, vault: Vault
) -> None:
    shown = create(caller, vault, headers={"X-Token": "a value"}, filters=NewFilters(("inner",)))
    assert shown.secret.startswith("whsec_")
    assert len(base64.b64decode(shown.secret.removeprefix("whsec_"))) == 32
    assert shown.secret not in repr(shown)
    assert reread(caller, shown.webhook) == shown.webhook
    assert shown.webhook.schedule == (5, 30, 300)
    after = find_material(caller, vault, shown.webhook)
    assert after is not None
    assert (after.secrets, after.headers) == ((shown.secret,), {"X-Token": "a value"})
    assert "a value" not in repr(after)
    assert shown.secret not in repr(after)
    check_invariants(caller.tables, now=caller.now)


def test_a_webhook_needs_a_url(caller: Visitor, vault: Vault) -> None:
    with pytest.raises(FieldRequired, match="url"):
        webhooks.create(caller.tables.main, caller.call(), vault, fields=WebhookFields())


def test_an_accounts_webhooks_are_listed_oldest_first(caller: Visitor, vault: Vault) -> None:
    several = [create(caller, vault, description=str(number)).webhook for number in range(3)]
    stranger = unlimited_admin(caller.tables)
    assert sorted(
        webhooks.list_all(caller.tables.main, caller.account_id), key=lambda one: one.id
    ) == (webhooks.list_all(caller.tables.main, caller.account_id))
    assert {one.id for one in several} == {
        one.id for one in webhooks.list_all(caller.tables.main, caller.account_id)
    }
    assert webhooks.list_all(caller.tables.main, stranger.account_id) == []
    assert webhooks.find(caller.tables.main, stranger.account_id, several[0].id) is None


def test_an_account_has_at_most_100_webhooks_until_one_is_deleted(
    caller: Visitor, vault: Vault
) -> None:
    several = [create(caller, vault).webhook for _ in range(MOST_WEBHOOKS)]
    with pytest.raises(BoundReached, match="at most 100"):
        create(caller, vault)
    state = check_invariants(caller.tables, now=caller.now)
    assert counter_value(state, f"WEBHOOK#{caller.account_id}") == MOST_WEBHOOKS
    webhooks.remove(caller.tables.main, caller.call(), several[7].id)
    create(caller, vault)
    check_invariants(caller.tables, now=caller.now)


def test_an_update_without_a_difference_writes_nothing(caller: Visitor, vault: Vault) -> None:
    one = create(caller, vault, headers={"X-A": "1"}, description="d").webhook
    before = State(caller.tables).main
    same = webhooks.update(
        caller.tables.main,
        caller.call(),
        vault,
        one.id,
        fields=WebhookFields(
            url=URL,
            headers={"X-A": "1"},
            description="d",
            active=True,
            retry_schedule=None,
            filters=NewFilters(),
        ),
        also={"marker": marker(caller.tables.main)},
    ).webhook
    assert same == one
    assert State(caller.tables).main == before


def test_each_changed_field_increments_the_version_and_is_in_the_audit_event(
    caller: Visitor, vault: Vault
) -> None:
    one = create(caller, vault).webhook
    changes: list[dict[str, Any]] = [
        {"url": f"{URL}?token=x"},
        {"filters": NewFilters(types=("task",), min_urgency=0.5)},
        {"active": False},
        {"description": "for tests"},
        {"retry_schedule": [1, 2]},
        {"headers": {"X-B": "2", "x-a": "1"}},
        {"headers": {"X-B": "3", "x-a": "1"}},
    ]
    for number, change in enumerate(changes, 2):
        after = update(caller, vault, one, **change)
        assert after.version == number
        assert reread(caller, one) == after
        event = State(caller.tables).events(caller.account_id)[-1]
        assert event["action"] == "webhook.update"
        assert event["after"]["changed"] == list(change)
        assert "token" not in str(event)
    assert reread(caller, one).header_names == ("x-a", "X-B")
    after = find_material(caller, vault, reread(caller, one))
    assert after is not None
    assert after.headers == {"X-B": "3", "x-a": "1"}
    back = update(caller, vault, one, retry_schedule=None, headers={}, description=None)
    assert (back.retry_schedule, back.header_names, back.description) == ((), (), "")
    check_invariants(caller.tables, now=caller.now)


def test_unknown_deleted_and_foreign_webhooks_are_not_found(caller: Visitor, vault: Vault) -> None:
    one = create(caller, vault).webhook
    stranger = unlimited_admin(caller.tables)
    gone = create(caller, vault).webhook
    webhooks.remove(caller.tables.main, caller.call(), gone.id)
    for either, target in (
        (stranger, one),
        (caller, gone),
        (caller, replace(one, id=caller.account_id)),
    ):
        for act in (
            lambda c, t: update(c, vault, t, active=False),
            lambda c, t: rotate(c, vault, t),
            lambda c, t: webhooks.remove(c.tables.main, c.call(), t.id),
        ):
            with pytest.raises(NotFound) as refused:
                act(either, target)
            assert refused.value.code == "WEBHOOK_NOT_FOUND"
    assert find_material(caller, vault, gone) is None
    check_invariants(caller.tables, now=caller.now)


def test_other_rooms_writes_are_in_the_same_transaction(caller: Visitor, vault: Vault) -> None:
    main = caller.tables.main
    one = webhooks.create(
        main,
        caller.call(),
        vault,
        fields=WebhookFields(url=URL),
        also={"marker": marker(main, "made")},
    ).webhook
    webhooks.update(
        main,
        caller.call(),
        vault,
        one.id,
        fields=WebhookFields(active=False),
        also={"marker": marker(main, "updated")},
    )
    rotation.rotate_secret(
        main,
        caller.call(),
        vault,
        one.id,
        grace_seconds=0,
        also={"marker": marker(main, "rotated")},
    )
    for again in ("made", "updated", "rotated"):
        with pytest.raises(audit.Refused) as refused:
            webhooks.remove(main, caller.call(), one.id, also={"marker": marker(main, again)})
        assert set(refused.value.failed) == {"marker"}
    assert reread(caller, one)
    webhooks.remove(main, caller.call(), one.id, also={"marker": marker(main, "removed")})
    assert len(kind(check_invariants(caller.tables, now=caller.now), "MARK#")) == 4


# ---- Headers are bound to the origin of the URL --------------------------------------------------


ELSEWHERE = (
    "http://127.0.0.1:9001/in",
    "http://localhost:9000/in",
    "https://127.0.0.1:9000/in",
)


@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_changed_origin_drops_the_headers_and_says_so(
    caller: Visitor, vault: Vault, url: str
) -> None:
    one = create(caller, vault, headers={"Authorization": "Bearer x", "X-B": "2"})
    moved = webhooks.update(
        caller.tables.main, caller.call(), vault, one.webhook.id, fields=WebhookFields(url=url)
    )
    assert moved.dropped_headers == ("Authorization", "X-B")
    assert moved.webhook == reread(caller, one.webhook)
    assert moved.webhook.header_names == ()
    after = find_material(caller, vault, moved.webhook)
    assert after is not None
    assert (after.headers, after.secrets) == ({}, (one.secret,))
    state = check_invariants(caller.tables, now=caller.now)
    event = state.events(caller.account_id)[-1]
    assert event["after"]["changed"] == ["url", "headers"]
    assert event["after"]["dropped_headers"] == ["Authorization", "X-B"]
    assert not any("headers" in item["sk"] for item in kind(state, "SECRET#"))
    back = webhooks.update(
        caller.tables.main, caller.call(), vault, one.webhook.id, fields=WebhookFields(url=URL)
    )
    assert (back.dropped_headers, back.webhook.header_names) == ((), ())


def test_new_headers_may_come_with_the_new_origin(caller: Visitor, vault: Vault) -> None:
    headers = {"Authorization": "Bearer x"}
    one = create(caller, vault, headers=headers).webhook
    moved = update(caller, vault, one, url=ELSEWHERE[0], headers=headers)
    after = find_material(caller, vault, moved)
    assert after is not None
    assert after.headers == headers
    emptied = update(caller, vault, one, url=URL, headers={})
    assert (emptied.header_names, emptied.url) == ((), URL)


def test_another_path_of_the_same_origin_keeps_the_headers(caller: Visitor, vault: Vault) -> None:
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    for path in (f"{URL}/other?x=1", "http://127.0.0.1:9000"):
        after = find_material(caller, vault, update(caller, vault, one, url=path))
        assert after is not None
        assert after.headers == {"X-A": "1"}


def test_header_values_cannot_be_decrypted_for_another_url(caller: Visitor, vault: Vault) -> None:
    """Even somebody who writes the new URL into the table does not get them."""
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    with pytest.raises(WrongPlace):
        find_material(caller, vault, replace(one, url=ELSEWHERE[0]))


def test_a_worker_that_read_the_webhook_before_it_moved_tries_again(
    caller: Visitor, vault: Vault
) -> None:
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    update(caller, vault, one, url=ELSEWHERE[0])
    with pytest.raises(Unavailable):
        find_material(caller, vault, one)


# ---- Secrets -----------------------------------------------------------------------------------


def test_both_secrets_are_live_until_the_grace_ends(caller: Visitor, vault: Vault) -> None:
    old = create(caller, vault, headers={"X-A": "1"})
    new = rotate(caller, vault, old.webhook)
    assert live(caller, vault, old.webhook) == (old.secret, new.secret)
    caller.now += DAY - 1
    assert live(caller, vault, old.webhook) == (old.secret, new.secret)
    caller.now += 1
    assert live(caller, vault, old.webhook) == (new.secret,)
    assert reread(caller, old.webhook).version == 2
    after = find_material(caller, vault, old.webhook)
    assert after is not None
    assert after.headers == {"X-A": "1"}


def test_a_rotation_ends_the_oldest_of_two_secrets_and_without_grace_both(
    caller: Visitor, vault: Vault
) -> None:
    one = create(caller, vault)
    two = rotate(caller, vault, one.webhook, 7 * 86_400)
    three = rotate(caller, vault, one.webhook, 60)
    assert live(caller, vault, one.webhook) == (two.secret, three.secret)
    four = rotate(caller, vault, one.webhook, 0)
    assert live(caller, vault, one.webhook) == (four.secret,)
    check_invariants(caller.tables, now=caller.now)


def test_a_repeat_under_an_idempotency_key_is_refused_and_names_the_webhook(
    caller: Visitor, vault: Vault
) -> None:
    call = caller.call(token="once")
    one = webhooks.create(caller.tables.main, call, vault, fields=WebhookFields(url=URL)).webhook
    with pytest.raises(IdempotencyReused) as again:
        webhooks.create(caller.tables.main, call, vault, fields=WebhookFields(url=URL))
    assert again.value.details == {"id": f"webhook:{one.id}"}
    other = caller.call(token="rotated")
    for _ in range(1):
        rotation.rotate_secret(caller.tables.main, other, vault, one.id, grace_seconds=0)
    with pytest.raises(IdempotencyReused) as again:
        rotation.rotate_secret(caller.tables.main, other, vault, one.id, grace_seconds=0)
    assert again.value.details == {"id": f"webhook:{one.id}"}
    assert reread(caller, one).version == 2


# ---- The outcomes of deliveries ----------------------------------------------------------------


def test_failures_are_counted_and_a_success_clears_the_count(caller: Visitor, vault: Vault) -> None:
    main, one = caller.tables.main, create(caller, vault).webhook
    for _ in range(3):
        health.record_failure(main, one, now=caller.now)
    after = reread(caller, one)
    assert (after.failure_count, after.failing, after.last_failure_at) == (3, False, caller.now)
    transact(main.client, [webhook_writes.mark_failing(main, one, now=caller.now + 1)])
    after = reread(caller, one)
    assert (after.failure_count, after.failing, after.last_failure_at) == (3, True, caller.now + 1)
    transact(main.client, [webhook_writes.clear_failing(main, after, now=caller.now + 2)])
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
        webhook_writes.clear_failing(main, one, now=caller.now),
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
    room_line.before = first(1, lambda: error("ThrottlingException"), "UpdateItem")
    with pytest.raises(Unavailable):
        health.record_failure(main, one, now=caller.now)


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


@pytest.mark.parametrize("act", ["update", "headers", "rotate", "remove"])
def test_two_concurrent_changes_of_a_webhook_both_take_effect(
    caller: Visitor, vault: Vault, room_line: Wire, act: str
) -> None:
    one = create(caller, vault, headers={"X-A": "1"}).webhook
    met: list[str] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            update(caller, vault, one, description="first", headers={"X-A": "2"})
            met.append(rotate(caller, vault, one, 60).secret)

    room_line.before = between
    if act == "update":
        assert update(caller, vault, one, active=False).description == "first"
    elif act == "headers":
        update(caller, vault, one, headers={"X-A": "3"})
        assert met[0] in live(caller, vault, one)
    elif act == "rotate":
        last = rotate(caller, vault, one, 60).secret
        assert live(caller, vault, one) == (met[0], last)
    else:
        assert webhooks.remove(caller.tables.main, caller.call(), one.id).description == "first"
    assert met
    check_invariants(caller.tables, now=caller.now)
