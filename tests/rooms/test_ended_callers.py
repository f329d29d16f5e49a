"""Requests that were admitted before their key was revoked, and write afterwards.

None of them may leave behind anything that lets somebody do more than before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.aws import clients
from gatehouse.aws.control_plane import Cloud
from gatehouse.core.clock import SECOND
from gatehouse.core.errors import NotFound, Unauthorized
from gatehouse.core.request import Answered
from gatehouse.dynamo.table import Tables
from gatehouse.keys import actions as keys
from gatehouse.keys import rotation as key_rotation
from gatehouse.keys.model import KeyPatch, Minted
from gatehouse.revocation import actions as revocation
from gatehouse.secrets.actions import Vault
from gatehouse.services import actions as services
from gatehouse.services.model import NewService
from gatehouse.wallets import actions as wallets
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import rotation as webhook_rotation
from gatehouse.webhooks.model import NewFilters, WebhookFields
from support.actors.members import (
    NONCE_SECRET,
    change,
    identity_of,
    invited,
    key_of,
    member,
    new_vault,
    signed,
    trusted,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor, key_request
from support.aws.faults import Wire
from support.checks.inspection import check_everything, items

CLOUD = Cloud(clients.lambdas, clients.ecs, clients.tagging, clients.cloudwatch, clients.logs)
URL = "http://127.0.0.1:9000/in"


class World:
    """An account with something of each kind that a request of `holder` can widen."""

    def __init__(self, admin: Visitor) -> None:
        self.admin, self.vault = admin, new_vault()
        self.stolen = self._make()
        self.holder = visitor_with(admin.tables, self.stolen, admin.now).unlimited()
        self.other = self._make(rate_limit=5)
        self.member = member(admin)
        table, call = admin.tables.main, admin.call
        fields = WebhookFields(url=URL, filters=NewFilters(types=("task",)))
        self.live = webhooks.create(table, call(), self.vault, fields=fields).webhook
        self.paused = webhooks.create(table, call(), self.vault, fields=fields).webhook
        self.update(admin, self.paused.id, active=False)

    def update(self, by: Visitor, webhook_id: str, **fields: Any) -> None:
        patch = WebhookFields(**fields)
        webhooks.update(by.tables.main, by.call(), self.vault, webhook_id, fields=patch)

    def _make(self, **fields: Any) -> Minted:
        asked = key_request(**{"rate_limit": None, **fields})
        return keys.create(self.admin.tables, self.admin.call(), asked)


def _rotate(by: Visitor, key: Minted) -> None:
    key_rotation.rotate(by.tables, by.call(), key.key.id, grace_seconds=60, prefix="hk")


def _register(by: Visitor, vault: Vault) -> None:
    services.register(
        by.tables.main,
        by.call(),
        CLOUD,
        vault,
        new=NewService("api", health_url=URL, restart_url=URL),
        own=(),
        answered=lambda _: Answered(200, "{}"),
    )


ROUTES: dict[str, Callable[[World], Any]] = {
    "create a key": lambda w: keys.create(w.holder.tables, w.holder.call(), key_request()),
    "create a member's key": lambda w: key_of(w.holder, w.member),
    "rotate itself": lambda w: _rotate(w.holder, w.stolen),
    "rotate a key": lambda w: _rotate(w.holder, w.other),
    "widen a key": lambda w: keys.patch(
        w.holder.tables, w.holder.call(), w.other.key.id, KeyPatch(rate_limit=None)
    ),
    "create an invite": lambda w: invited(w.holder),
    "promote a member": lambda w: change(w.holder, w.member, is_admin=True),
    "attach a wallet": lambda w: wallets.attach(
        w.holder.tables,
        w.holder.call(),
        signed(w.holder.now, holder=w.holder),
        secret=NONCE_SECRET,
    ),
    "trust a peer": lambda w: trusted(w.holder, w.vault),
    "create a webhook": lambda w: webhooks.create(
        w.holder.tables.main, w.holder.call(), w.vault, fields=WebhookFields(url=URL)
    ),
    "widen a webhook": lambda w: w.update(w.holder, w.live.id, filters=NewFilters()),
    "move a webhook": lambda w: w.update(w.holder, w.live.id, url=URL + "/other"),
    "activate a webhook": lambda w: w.update(w.holder, w.paused.id, active=True),
    "rotate a webhook's secret": lambda w: webhook_rotation.rotate_secret(
        w.holder.tables.main, w.holder.call(), w.vault, w.live.id, grace_seconds=0
    ),
    "register a service": lambda w: _register(w.holder, w.vault),
}


def _contents(tables: Tables) -> list[Any]:
    found = [*items(tables.main), *items(tables.keys)]
    return sorted(found, key=lambda item: (item["pk"], item.get("sk", "")))


@pytest.mark.usefixtures("settings_key")
@pytest.mark.parametrize("route", ROUTES)
def test_a_request_leaves_nothing_behind_after_its_key_has_ended(
    tables: Tables, room_line: Wire, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    world = World(unlimited_admin(tables))
    left: list[Any] = []

    def end_the_key(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            world.admin.now += SECOND
            admin = world.admin
            revocation.revoke(tables, admin.call(), world.stolen.key.id, descendants=True)
            left.append(_contents(tables))

    room_line.before = end_the_key
    with pytest.raises((Unauthorized, NotFound)):
        ROUTES[route](world)
    assert left == [_contents(tables)]
    assert identity_of(world.member).is_admin is False
    check_everything(tables, now=world.admin.now)
