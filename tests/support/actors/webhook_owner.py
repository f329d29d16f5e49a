"""The webhooks of an account, created and changed by the room's actions."""

from __future__ import annotations

from typing import Any

from gatehouse.dynamo.table import Table
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks import rotation
from gatehouse.webhooks.model import (
    CreatedWebhook,
    Material,
    RotatedSecret,
    Webhook,
    WebhookFields,
)
from gatehouse.webhooks.secret_cache import SecretCache
from support.actors.visitor import Visitor

URL = "http://127.0.0.1:9000/in"


def create(caller: Visitor, vault: Vault, **fields: Any) -> CreatedWebhook:
    """Create a webhook; its URL leads to this machine unless `fields` name another."""
    wanted = WebhookFields(**{"url": URL, **fields})
    return webhooks.create(caller.tables.main, caller.call(), vault, fields=wanted)


def update(caller: Visitor, vault: Vault, webhook: Webhook, **fields: Any) -> Webhook:
    """Change fields of a webhook."""
    wanted = WebhookFields(**fields)
    changed = webhooks.update(caller.tables.main, caller.call(), vault, webhook.id, fields=wanted)
    return changed.webhook


def rotate(
    caller: Visitor, vault: Vault, webhook: Webhook, grace: int | None = None
) -> RotatedSecret:
    """Rotate a webhook's secret; None is the default grace."""
    return rotation.rotate_secret(
        caller.tables.main, caller.call(), vault, webhook.id, grace_seconds=grace
    )


def reread(caller: Visitor, webhook: Webhook) -> Webhook:
    """Read a webhook again."""
    return webhooks.get(caller.tables.main, caller.account_id, webhook.id)


def find_material(caller: Visitor, vault: Vault, webhook: Webhook) -> Material | None:
    """Read what a delivery of this webhook is signed and sent with."""
    return SecretCache(caller.tables.main, vault).find_material(webhook, now=caller.now)


def live(caller: Visitor, vault: Vault, webhook: Webhook) -> tuple[str, ...]:
    """Return the secrets that sign a delivery now."""
    material = find_material(caller, vault, webhook)
    assert material is not None
    return material.secrets


def marker(table: Table, name: str = "marker") -> Any:
    """Return a write of an item that no room knows."""
    return table.put_new({"pk": f"MARK#{name}", "sk": "MARK"})
