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
from gatehouse.dynamo.table import Table, Tables, TransactionCanceled, transact
from gatehouse.secrets.actions import Vault
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
from support.actors.members import boss, vault
from support.actors.visitor import Visitor
from support.aws.faults import Wire, error, first
from support.checks.inspection import State
from support.checks.invariants import check_standing, kind, tally

URL = "http://127.0.0.1:9000/in"
WORKER = Origin(actor="system:delivery", request_id="delivery")


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")


@pytest.fixture
def who(tables: Tables) -> Visitor:
    return boss(tables)


@pytest.fixture
def kept_in(settings_key: str, tables: Tables) -> Vault:
    del settings_key, tables
    return vault()


def create(who: Visitor, kept_in: Vault, **fields: Any) -> CreatedWebhook:
    wanted = WebhookFields(**{"url": URL, **fields})
    return webhooks.create(who.tables.main, who.call(), kept_in, fields=wanted)


def update(who: Visitor, kept_in: Vault, webhook: Webhook, **fields: Any) -> Webhook:
    wanted = WebhookFields(**fields)
    return webhooks.update(who.tables.main, who.call(), kept_in, webhook.id, fields=wanted)


def rotate(
    who: Visitor, kept_in: Vault, webhook: Webhook, grace: int | None = None
) -> RotatedSecret:
    return rotation.rotate_secret(
        who.tables.main, who.call(), kept_in, webhook.id, grace_seconds=grace
    )


def reread(who: Visitor, webhook: Webhook) -> Webhook:
    return webhooks.get(who.tables.main, who.account_id, webhook.id)


def find_material(who: Visitor, kept_in: Vault, webhook: Webhook) -> Material | None:
    return SecretCache(who.tables.main, kept_in).find_material(webhook, now=who.now)


def live(who: Visitor, kept_in: Vault, webhook: Webhook) -> tuple[str, ...]:
    material = find_material(who, kept_in, webhook)
    assert material is not None
    return material.secrets


def marker(table: Table, name: str = "marker") -> Any:
    return table.put_new({"pk": f"MARK#{name}", "sk": "MARK"})


# ---- Created, read, changed, deleted -----------------------------------------------------------


def test_a_created_webhook_is_stored_and_its_secret_shown_once(
    who: Visitor, kept_in: Vault
) -> None:
    shown = create(who, kept_in, headers={"X-Token": "a value"}, filters=NewFilters(("inner",)))
    assert shown.secret.startswith("whsec_")
    assert len(base64.b64decode(shown.secret.removeprefix("whsec_"))) == 32
    assert shown.secret not in repr(shown)
    assert reread(who, shown.webhook) == shown.webhook
    assert shown.webhook.schedule == (5, 30, 300)
    after = find_material(who, kept_in, shown.webhook)
    assert after is not None
    assert (after.secrets, after.headers) == ((shown.secret,), {"X-Token": "a value"})
    assert "a value" not in repr(after)
    assert shown.secret not in repr(after)
    check_standing(who.tables, now=who.now)


def test_a_webhook_needs_a_url(who: Visitor, kept_in: Vault) -> None:
    with pytest.raises(FieldRequired, match="url"):
        webhooks.create(who.tables.main, who.call(), kept_in, fields=WebhookFields())


def test_an_accounts_webhooks_are_listed_oldest_first(who: Visitor, kept_in: Vault) -> None:
    several = [create(who, kept_in, description=str(number)).webhook for number in range(3)]
    stranger = boss(who.tables)
    assert sorted(webhooks.list_all(who.tables.main, who.account_id), key=lambda one: one.id) == (
        webhooks.list_all(who.tables.main, who.account_id)
    )
    assert {one.id for one in several} == {
        one.id for one in webhooks.list_all(who.tables.main, who.account_id)
    }
    assert webhooks.list_all(who.tables.main, stranger.account_id) == []
    assert webhooks.find(who.tables.main, stranger.account_id, several[0].id) is None


def test_an_account_has_at_most_100_webhooks_until_one_is_deleted(
    who: Visitor, kept_in: Vault
) -> None:
    several = [create(who, kept_in).webhook for _ in range(MOST_WEBHOOKS)]
    with pytest.raises(BoundReached, match="at most 100"):
        create(who, kept_in)
    state = check_standing(who.tables, now=who.now)
    assert tally(state, f"WEBHOOK#{who.account_id}") == MOST_WEBHOOKS
    webhooks.remove(who.tables.main, who.call(), several[7].id)
    create(who, kept_in)
    check_standing(who.tables, now=who.now)


def test_an_update_without_a_difference_writes_nothing(who: Visitor, kept_in: Vault) -> None:
    one = create(who, kept_in, headers={"X-A": "1"}, description="d").webhook
    before = State(who.tables).main
    same = webhooks.update(
        who.tables.main,
        who.call(),
        kept_in,
        one.id,
        fields=WebhookFields(
            url=URL,
            headers={"X-A": "1"},
            description="d",
            active=True,
            retry_schedule=None,
            filters=NewFilters(),
        ),
        also={"marker": marker(who.tables.main)},
    )
    assert same == one
    assert State(who.tables).main == before


def test_each_changed_field_increments_the_version_and_is_in_the_audit_event(
    who: Visitor, kept_in: Vault
) -> None:
    one = create(who, kept_in).webhook
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
        after = update(who, kept_in, one, **change)
        assert after.version == number
        assert reread(who, one) == after
        event = State(who.tables).events(who.account_id)[-1]
        assert event["action"] == "webhook.update"
        assert event["after"]["changed"] == list(change)
        assert "token" not in str(event)
    assert reread(who, one).header_names == ("x-a", "X-B")
    after = find_material(who, kept_in, one)
    assert after is not None
    assert after.headers == {"X-B": "3", "x-a": "1"}
    back = update(who, kept_in, one, retry_schedule=None, headers={}, description=None)
    assert (back.retry_schedule, back.header_names, back.description) == ((), (), "")
    check_standing(who.tables, now=who.now)


def test_unknown_deleted_and_foreign_webhooks_are_not_found(who: Visitor, kept_in: Vault) -> None:
    one = create(who, kept_in).webhook
    stranger = boss(who.tables)
    gone = create(who, kept_in).webhook
    webhooks.remove(who.tables.main, who.call(), gone.id)
    for caller, target in ((stranger, one), (who, gone), (who, replace(one, id=who.account_id))):
        for act in (
            lambda c, t: update(c, kept_in, t, active=False),
            lambda c, t: rotate(c, kept_in, t),
            lambda c, t: webhooks.remove(c.tables.main, c.call(), t.id),
        ):
            with pytest.raises(NotFound) as refused:
                act(caller, target)
            assert refused.value.code == "WEBHOOK_NOT_FOUND"
    assert find_material(who, kept_in, gone) is None
    check_standing(who.tables, now=who.now)


def test_other_rooms_writes_are_in_the_same_transaction(who: Visitor, kept_in: Vault) -> None:
    main = who.tables.main
    one = webhooks.create(
        main,
        who.call(),
        kept_in,
        fields=WebhookFields(url=URL),
        also={"marker": marker(main, "made")},
    ).webhook
    webhooks.update(
        main,
        who.call(),
        kept_in,
        one.id,
        fields=WebhookFields(active=False),
        also={"marker": marker(main, "updated")},
    )
    rotation.rotate_secret(
        main, who.call(), kept_in, one.id, grace_seconds=0, also={"marker": marker(main, "rotated")}
    )
    for again in ("made", "updated", "rotated"):
        with pytest.raises(audit.Refused) as refused:
            webhooks.remove(main, who.call(), one.id, also={"marker": marker(main, again)})
        assert set(refused.value.failed) == {"marker"}
    assert reread(who, one)
    webhooks.remove(main, who.call(), one.id, also={"marker": marker(main, "removed")})
    assert len(kind(check_standing(who.tables, now=who.now), "MARK#")) == 4


# ---- Secrets -----------------------------------------------------------------------------------


def test_both_secrets_are_live_until_the_grace_ends(who: Visitor, kept_in: Vault) -> None:
    old = create(who, kept_in, headers={"X-A": "1"})
    new = rotate(who, kept_in, old.webhook)
    assert live(who, kept_in, old.webhook) == (old.secret, new.secret)
    who.now += DAY - 1
    assert live(who, kept_in, old.webhook) == (old.secret, new.secret)
    who.now += 1
    assert live(who, kept_in, old.webhook) == (new.secret,)
    assert reread(who, old.webhook).version == 2
    after = find_material(who, kept_in, old.webhook)
    assert after is not None
    assert after.headers == {"X-A": "1"}


def test_a_rotation_ends_the_oldest_of_two_secrets_and_without_grace_both(
    who: Visitor, kept_in: Vault
) -> None:
    one = create(who, kept_in)
    two = rotate(who, kept_in, one.webhook, 7 * 86_400)
    three = rotate(who, kept_in, one.webhook, 60)
    assert live(who, kept_in, one.webhook) == (two.secret, three.secret)
    four = rotate(who, kept_in, one.webhook, 0)
    assert live(who, kept_in, one.webhook) == (four.secret,)
    check_standing(who.tables, now=who.now)


def test_a_repeat_under_an_idempotency_key_is_refused_and_names_the_webhook(
    who: Visitor, kept_in: Vault
) -> None:
    call = who.call(token="once")
    one = webhooks.create(who.tables.main, call, kept_in, fields=WebhookFields(url=URL)).webhook
    with pytest.raises(IdempotencyReused) as again:
        webhooks.create(who.tables.main, call, kept_in, fields=WebhookFields(url=URL))
    assert again.value.details == {"id": f"webhook:{one.id}"}
    other = who.call(token="rotated")
    for _ in range(1):
        rotation.rotate_secret(who.tables.main, other, kept_in, one.id, grace_seconds=0)
    with pytest.raises(IdempotencyReused) as again:
        rotation.rotate_secret(who.tables.main, other, kept_in, one.id, grace_seconds=0)
    assert again.value.details == {"id": f"webhook:{one.id}"}
    assert reread(who, one).version == 2


# ---- The outcomes of deliveries ----------------------------------------------------------------


def test_failures_are_counted_and_a_success_clears_the_count(who: Visitor, kept_in: Vault) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    for _ in range(3):
        health.record_failure(main, one, now=who.now)
    after = reread(who, one)
    assert (after.failure_count, after.failing, after.last_failure_at) == (3, False, who.now)
    transact(main.client, [webhook_writes.mark_failing(main, one, now=who.now + 1)])
    after = reread(who, one)
    assert (after.failure_count, after.failing, after.last_failure_at) == (3, True, who.now + 1)
    transact(main.client, [webhook_writes.clear_failing(main, after, now=who.now + 2)])
    after = reread(who, one)
    assert (after.failure_count, after.failing, after.last_success_at) == (0, False, who.now + 2)
    assert after.version == 1, "statistics do not change the version"


def test_successes_are_recorded_at_most_once_a_minute(
    who: Visitor, kept_in: Vault, room_line: Wire
) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    health.record_success(main, one, now=who.now)
    health.record_success(main, one, now=who.now + 1)  # by a worker that read it before the first
    assert reread(who, one).last_success_at == who.now
    room_line.clear()
    health.record_success(main, replace(one, last_success_at=who.now), now=who.now + MINUTE)
    assert room_line.calls == []
    health.record_success(main, reread(who, one), now=who.now + MINUTE + 1)
    assert reread(who, one).last_success_at == who.now + MINUTE + 1


def test_a_success_within_the_minute_still_clears_failures(who: Visitor, kept_in: Vault) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    health.record_success(main, one, now=who.now)
    health.record_failure(main, one, now=who.now + 1)
    transact(main.client, [webhook_writes.mark_failing(main, one, now=who.now + 1)])
    health.record_success(main, reread(who, one), now=who.now + SECOND)
    after = reread(who, one)
    assert (after.failing, after.failure_count) == (False, 0)


def test_records_about_a_deleted_webhook_do_nothing_and_do_not_restore_it(
    who: Visitor, kept_in: Vault
) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    webhooks.remove(main, who.call(), one.id)
    health.record_success(main, one, now=who.now)
    health.record_failure(main, one, now=who.now)
    for write in (
        webhook_writes.mark_failing(main, one, now=who.now),
        webhook_writes.clear_failing(main, one, now=who.now),
        webhook_writes.check_unchanged(main, one),
    ):
        with pytest.raises(TransactionCanceled):
            transact(main.client, [write])
    assert kind(check_standing(who.tables, now=who.now), "WEBHOOK#") == []


def test_a_record_retries_on_conflict_and_then_gives_up_without_an_error(
    who: Visitor, kept_in: Vault, room_line: Wire, sleeps: list[float]
) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    busy = lambda: error("TransactionConflictException")  # noqa: E731
    room_line.before = first(2, busy, "UpdateItem")
    health.record_failure(main, one, now=who.now)
    assert (reread(who, one).failure_count, len(sleeps)) == (1, 2)
    room_line.before = first(99, busy, "UpdateItem")
    health.record_failure(main, one, now=who.now)
    room_line.before = first(1, lambda: error("ThrottlingException"), "UpdateItem")
    with pytest.raises(Unavailable):
        health.record_failure(main, one, now=who.now)


def test_check_unchanged_fails_after_an_update_but_not_after_statistics(
    who: Visitor, kept_in: Vault
) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    health.record_failure(main, one, now=who.now)
    transact(main.client, [webhook_writes.check_unchanged(main, one), marker(main, "parked")])
    update(who, kept_in, one, active=False)
    with pytest.raises(TransactionCanceled):
        transact(main.client, [webhook_writes.check_unchanged(main, one), marker(main, "late")])


def test_a_disabled_webhook_has_an_audit_event_and_can_be_activated_again(
    who: Visitor, kept_in: Vault
) -> None:
    main, one = who.tables.main, create(who, kept_in).webhook
    also = {"marker": marker(main)}
    health.disable(main, one, reason="gone", also=also, origin=WORKER, now=who.now)
    after = reread(who, one)
    assert (after.active, after.disabled_reason, after.version) == (False, "gone", 2)
    event = check_standing(who.tables, now=who.now).events(who.account_id)[-1]
    assert (event["action"], event["actor"]) == ("webhook.disable", "system:delivery")
    again = update(who, kept_in, one, active=True)
    assert (again.active, again.disabled_reason) == (True, None)
    with pytest.raises(audit.Refused) as refused:
        health.disable(main, after, reason="gone", also={}, origin=WORKER, now=who.now)
    assert set(refused.value.failed) == {"webhook"}
    assert reread(who, one).active
    check_standing(who.tables, now=who.now)


@pytest.mark.parametrize("act", ["update", "headers", "rotate", "remove"])
def test_two_concurrent_changes_of_a_webhook_both_take_effect(
    who: Visitor, kept_in: Vault, room_line: Wire, act: str
) -> None:
    one = create(who, kept_in, headers={"X-A": "1"}).webhook
    met: list[str] = []

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            update(who, kept_in, one, description="first", headers={"X-A": "2"})
            met.append(rotate(who, kept_in, one, 60).secret)

    room_line.before = between
    if act == "update":
        assert update(who, kept_in, one, active=False).description == "first"
    elif act == "headers":
        update(who, kept_in, one, headers={"X-A": "3"})
        assert met[0] in live(who, kept_in, one)
    elif act == "rotate":
        last = rotate(who, kept_in, one, 60).secret
        assert live(who, kept_in, one) == (met[0], last)
    else:
        assert webhooks.remove(who.tables.main, who.call(), one.id).description == "first"
    assert met
    check_standing(who.tables, now=who.now)
