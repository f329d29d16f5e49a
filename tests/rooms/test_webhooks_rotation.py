"""A webhook's secrets, their grace, and what a repeated request shows of them."""

from __future__ import annotations

import pytest

from gatehouse.core.clock import DAY
from gatehouse.core.errors import (
    IdempotencyReused,
)
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import rotation
from gatehouse.webhooks.model import (
    WebhookFields,
)
from support.actors.visitor import Visitor
from support.actors.webhook_owner import URL, create, find_material, live, reread, rotate, update
from support.aws.faults import Wire
from support.checks.invariants import check_invariants

pytestmark = pytest.mark.usefixtures("loopback_allowed")


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
