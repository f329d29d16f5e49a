"""Webhooks are created, changed and deleted, each with its audit event."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from gatehouse.audit import actions as audit
from gatehouse.core.errors import (
    BoundReached,
    FieldRequired,
    NotFound,
)
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import rotation
from gatehouse.webhooks.model import (
    MOST_WEBHOOKS,
    NewFilters,
    WebhookFields,
)
from support.actors.members import unlimited_admin
from support.actors.visitor import Visitor
from support.actors.webhook_owner import URL, create, find_material, marker, reread, rotate, update
from support.checks.inspection import State
from support.checks.invariants import check_invariants, counter_value, kind

pytestmark = pytest.mark.usefixtures("loopback_allowed")


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
