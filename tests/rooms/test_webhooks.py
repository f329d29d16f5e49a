"""Webhooks: made, changed, matched and marked, on moto; the audit trail tells all of it."""

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
from gatehouse.webhooks.model import MOST_WEBHOOKS, Filters, Shown, Webhook
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


def made(who: Visitor, kept_in: Vault, **fields: Any) -> Shown:
    return webhooks.create(who.tables.main, who.call(), kept_in, fields={"url": URL, **fields})


def update(who: Visitor, kept_in: Vault, webhook: Webhook, **fields: Any) -> Webhook:
    return webhooks.update(who.tables.main, who.call(), kept_in, webhook.id, fields=fields)


def rotate(who: Visitor, kept_in: Vault, webhook: Webhook, grace: int | None = None) -> Shown:
    return webhooks.rotate_secret(
        who.tables.main, who.call(), kept_in, webhook.id, grace_seconds=grace
    )


def found(who: Visitor, webhook: Webhook) -> Webhook:
    there = webhooks.find(who.tables.main, who.account_id, webhook.id)
    assert there is not None
    return there


def live(who: Visitor, kept_in: Vault, webhook: Webhook) -> tuple[str, ...]:
    there = webhooks.material(who.tables.main, kept_in, webhook, now=who.now)
    assert there is not None
    return there.secrets


def mark(table: Table, name: str = "mark") -> Any:
    return table.put_new({"pk": f"MARK#{name}", "sk": "MARK"})


# ---- Made, found, changed, removed -------------------------------------------------------------


def test_a_webhook_is_made_with_a_secret_shown_once_and_found_again(
    who: Visitor, kept_in: Vault
) -> None:
    shown = made(who, kept_in, headers={"X-Token": "a value"}, filters=Filters(("inner",)))
    assert shown.secret.startswith("whsec_")
    assert len(base64.b64decode(shown.secret.removeprefix("whsec_"))) == 32
    assert shown.secret not in repr(shown)
    assert found(who, shown.webhook) == shown.webhook
    assert shown.webhook.schedule == (5, 30, 300)
    there = webhooks.material(who.tables.main, kept_in, shown.webhook, now=who.now)
    assert there is not None
    assert (there.secrets, there.headers) == ((shown.secret,), {"X-Token": "a value"})
    assert "a value" not in repr(there)
    assert shown.secret not in repr(there)
    check_standing(who.tables, now=who.now)


def test_a_webhook_needs_a_url(who: Visitor, kept_in: Vault) -> None:
    with pytest.raises(FieldRequired, match="url"):
        webhooks.create(who.tables.main, who.call(), kept_in, fields={})


def test_all_of_an_account_are_listed_in_the_order_they_were_made(
    who: Visitor, kept_in: Vault
) -> None:
    several = [made(who, kept_in, description=str(number)).webhook for number in range(3)]
    stranger = boss(who.tables)
    assert sorted(webhooks.all_of(who.tables.main, who.account_id), key=lambda one: one.id) == (
        webhooks.all_of(who.tables.main, who.account_id)
    )
    assert {one.id for one in several} == {
        one.id for one in webhooks.all_of(who.tables.main, who.account_id)
    }
    assert webhooks.all_of(who.tables.main, stranger.account_id) == []
    assert webhooks.find(who.tables.main, stranger.account_id, several[0].id) is None


def test_an_account_has_at_most_100_webhooks_and_removing_one_makes_room(
    who: Visitor, kept_in: Vault
) -> None:
    several = [made(who, kept_in).webhook for _ in range(MOST_WEBHOOKS)]
    with pytest.raises(BoundReached, match="at most 100"):
        made(who, kept_in)
    state = check_standing(who.tables, now=who.now)
    assert tally(state, f"WEBHOOK#{who.account_id}") == MOST_WEBHOOKS
    webhooks.remove(who.tables.main, who.call(), several[7].id)
    made(who, kept_in)
    check_standing(who.tables, now=who.now)


def test_a_change_that_changes_nothing_writes_nothing_not_even_what_comes_with_it(
    who: Visitor, kept_in: Vault
) -> None:
    one = made(who, kept_in, headers={"X-A": "1"}, description="d").webhook
    before = State(who.tables).main
    same = webhooks.update(
        who.tables.main,
        who.call(),
        kept_in,
        one.id,
        fields={
            "url": URL,
            "headers": {"X-A": "1"},
            "description": "d",
            "active": True,
            "retry_schedule": None,
            "filters": Filters(),
        },
        also={"mark": mark(who.tables.main)},
    )
    assert same == one
    assert State(who.tables).main == before


def test_each_field_changes_with_its_version_and_its_record(who: Visitor, kept_in: Vault) -> None:
    one = made(who, kept_in).webhook
    changes: list[dict[str, Any]] = [
        {"url": f"{URL}?token=x"},
        {"filters": Filters((), ("task",), "0.5")},
        {"active": False},
        {"description": "for tests"},
        {"retry_schedule": [1, 2]},
        {"headers": {"X-B": "2", "x-a": "1"}},
        {"headers": {"X-B": "3", "x-a": "1"}},
    ]
    for number, change in enumerate(changes, 2):
        after = update(who, kept_in, one, **change)
        assert after.version == number
        assert found(who, one) == after
        event = State(who.tables).events(who.account_id)[-1]
        assert event["action"] == "webhook.update"
        assert event["after"]["changed"] == list(change)
        assert "token" not in str(event)
    assert found(who, one).header_names == ("x-a", "X-B")
    there = webhooks.material(who.tables.main, kept_in, one, now=who.now)
    assert there is not None
    assert there.headers == {"X-B": "3", "x-a": "1"}
    back = update(who, kept_in, one, retry_schedule=None, headers={}, description=None)
    assert (back.retry_schedule, back.header_names, back.description) == ((), (), "")
    check_standing(who.tables, now=who.now)


def test_what_is_unknown_gone_or_another_s_is_not_found(who: Visitor, kept_in: Vault) -> None:
    one = made(who, kept_in).webhook
    stranger = boss(who.tables)
    gone = made(who, kept_in).webhook
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
    assert webhooks.material(who.tables.main, kept_in, gone, now=who.now) is None
    check_standing(who.tables, now=who.now)


def test_other_rooms_writes_happen_in_the_very_transaction(who: Visitor, kept_in: Vault) -> None:
    main = who.tables.main
    one = webhooks.create(
        main, who.call(), kept_in, fields={"url": URL}, also={"mark": mark(main, "made")}
    ).webhook
    webhooks.update(
        main,
        who.call(),
        kept_in,
        one.id,
        fields={"active": False},
        also={"mark": mark(main, "updated")},
    )
    webhooks.rotate_secret(
        main, who.call(), kept_in, one.id, grace_seconds=0, also={"mark": mark(main, "rotated")}
    )
    for again in ("made", "updated", "rotated"):
        with pytest.raises(audit.Refused) as refused:
            webhooks.remove(main, who.call(), one.id, also={"mark": mark(main, again)})
        assert set(refused.value.failed) == {"mark"}
    assert found(who, one)
    webhooks.remove(main, who.call(), one.id, also={"mark": mark(main, "removed")})
    assert len(kind(check_standing(who.tables, now=who.now), "MARK#")) == 4


# ---- Secrets -----------------------------------------------------------------------------------


def test_both_secrets_live_during_the_grace_and_the_old_one_ends_with_it(
    who: Visitor, kept_in: Vault
) -> None:
    old = made(who, kept_in, headers={"X-A": "1"})
    new = rotate(who, kept_in, old.webhook)
    assert live(who, kept_in, old.webhook) == (old.secret, new.secret)
    who.now += DAY - 1
    assert live(who, kept_in, old.webhook) == (old.secret, new.secret)
    who.now += 1
    assert live(who, kept_in, old.webhook) == (new.secret,)
    assert found(who, old.webhook).version == 2
    there = webhooks.material(who.tables.main, kept_in, old.webhook, now=who.now)
    assert there is not None
    assert there.headers == {"X-A": "1"}


def test_a_rotation_during_a_grace_ends_the_oldest_and_without_grace_the_old_one_at_once(
    who: Visitor, kept_in: Vault
) -> None:
    one = made(who, kept_in)
    two = rotate(who, kept_in, one.webhook, 7 * 86_400)
    three = rotate(who, kept_in, one.webhook, 60)
    assert live(who, kept_in, one.webhook) == (two.secret, three.secret)
    four = rotate(who, kept_in, one.webhook, 0)
    assert live(who, kept_in, one.webhook) == (four.secret,)
    check_standing(who.tables, now=who.now)


def test_a_repeat_under_an_idempotency_key_names_the_webhook(who: Visitor, kept_in: Vault) -> None:
    call = who.call(token="once")
    one = webhooks.create(who.tables.main, call, kept_in, fields={"url": URL}).webhook
    with pytest.raises(IdempotencyReused) as again:
        webhooks.create(who.tables.main, call, kept_in, fields={"url": URL})
    assert again.value.details == {"id": f"webhook:{one.id}"}
    other = who.call(token="rotated")
    for _ in range(1):
        webhooks.rotate_secret(who.tables.main, other, kept_in, one.id, grace_seconds=0)
    with pytest.raises(IdempotencyReused) as again:
        webhooks.rotate_secret(who.tables.main, other, kept_in, one.id, grace_seconds=0)
    assert again.value.details == {"id": f"webhook:{one.id}"}
    assert found(who, one).version == 2


# ---- What becomes of deliveries ----------------------------------------------------------------


def test_an_attempt_that_failed_is_counted_and_a_success_clears_the_count(
    who: Visitor, kept_in: Vault
) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    for _ in range(3):
        webhooks.note_failure(main, one, now=who.now)
    there = found(who, one)
    assert (there.failure_count, there.failing, there.last_failure_at) == (3, False, who.now)
    transact(main.client, [webhooks.failing(main, one, now=who.now + 1)])
    there = found(who, one)
    assert (there.failure_count, there.failing, there.last_failure_at) == (3, True, who.now + 1)
    transact(main.client, [webhooks.recovered(main, there, now=who.now + 2)])
    there = found(who, one)
    assert (there.failure_count, there.failing, there.last_success_at) == (0, False, who.now + 2)
    assert there.version == 1, "statistics are no decision"


def test_successes_are_written_at_most_once_a_minute(
    who: Visitor, kept_in: Vault, room_line: Wire
) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    webhooks.note_success(main, one, now=who.now)
    webhooks.note_success(main, one, now=who.now + 1)  # whoever had read it before the first
    assert found(who, one).last_success_at == who.now
    room_line.clear()
    webhooks.note_success(main, replace(one, last_success_at=who.now), now=who.now + MINUTE)
    assert room_line.calls == []
    webhooks.note_success(main, found(who, one), now=who.now + MINUTE + 1)
    assert found(who, one).last_success_at == who.now + MINUTE + 1


def test_a_success_within_the_minute_still_clears_failures(who: Visitor, kept_in: Vault) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    webhooks.note_success(main, one, now=who.now)
    webhooks.note_failure(main, one, now=who.now + 1)
    transact(main.client, [webhooks.failing(main, one, now=who.now + 1)])
    webhooks.note_success(main, found(who, one), now=who.now + SECOND)
    there = found(who, one)
    assert (there.failing, there.failure_count) == (False, 0)


def test_notes_about_a_webhook_that_is_gone_are_quiet_and_bring_nothing_back(
    who: Visitor, kept_in: Vault
) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    webhooks.remove(main, who.call(), one.id)
    webhooks.note_success(main, one, now=who.now)
    webhooks.note_failure(main, one, now=who.now)
    for write in (
        webhooks.failing(main, one, now=who.now),
        webhooks.recovered(main, one, now=who.now),
        webhooks.unchanged(main, one),
    ):
        with pytest.raises(TransactionCanceled):
            transact(main.client, [write])
    assert kind(check_standing(who.tables, now=who.now), "WEBHOOK#") == []


def test_a_note_waits_for_a_change_of_the_webhook_and_gives_up_quietly(
    who: Visitor, kept_in: Vault, room_line: Wire, sleeps: list[float]
) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    busy = lambda: error("TransactionConflictException")  # noqa: E731
    room_line.before = first(2, busy, "UpdateItem")
    webhooks.note_failure(main, one, now=who.now)
    assert (found(who, one).failure_count, len(sleeps)) == (1, 2)
    room_line.before = first(99, busy, "UpdateItem")
    webhooks.note_failure(main, one, now=who.now)
    room_line.before = first(1, lambda: error("ThrottlingException"), "UpdateItem")
    with pytest.raises(Unavailable):
        webhooks.note_failure(main, one, now=who.now)


def test_parking_holds_only_while_nobody_decided_anew(who: Visitor, kept_in: Vault) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    webhooks.note_failure(main, one, now=who.now)
    transact(main.client, [webhooks.unchanged(main, one), mark(main, "parked")])
    update(who, kept_in, one, active=False)
    with pytest.raises(TransactionCanceled):
        transact(main.client, [webhooks.unchanged(main, one), mark(main, "late")])


def test_a_webhook_is_disabled_on_the_record_and_made_active_again(
    who: Visitor, kept_in: Vault
) -> None:
    main, one = who.tables.main, made(who, kept_in).webhook
    also = {"mark": mark(main)}
    webhooks.disable(main, one, reason="gone", also=also, origin=WORKER, now=who.now)
    there = found(who, one)
    assert (there.active, there.disabled_reason, there.version) == (False, "gone", 2)
    event = check_standing(who.tables, now=who.now).events(who.account_id)[-1]
    assert (event["action"], event["actor"]) == ("webhook.disable", "system:delivery")
    again = update(who, kept_in, one, active=True)
    assert (again.active, again.disabled_reason) == (True, None)
    with pytest.raises(audit.Refused) as refused:
        webhooks.disable(main, there, reason="gone", also={}, origin=WORKER, now=who.now)
    assert set(refused.value.failed) == {"webhook"}
    assert found(who, one).active
    check_standing(who.tables, now=who.now)


@pytest.mark.parametrize("act", ["update", "headers", "rotate", "remove"])
def test_of_two_who_change_a_webhook_at_once_both_do(
    who: Visitor, kept_in: Vault, room_line: Wire, act: str
) -> None:
    one = made(who, kept_in, headers={"X-A": "1"}).webhook
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
