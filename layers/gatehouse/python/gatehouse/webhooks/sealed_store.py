"""The encrypted part of a webhook, one secret for each: its secrets and its headers' values."""

from __future__ import annotations

from gatehouse.dynamo.table import Table, Write
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.model import Place, Purpose, Sealer
from gatehouse.webhooks import secret_rules
from gatehouse.webhooks.model import SealedMaterial, Webhook


def put_new(table: Table, vault: Sealer, webhook: Webhook, *, sealed: SealedMaterial) -> Write:
    """Encrypt and write the material of a new webhook."""
    return secret_writes.put_new(table, vault, place(webhook), secret_rules.write_sealed(sealed))


def replace(table: Table, vault: Sealer, webhook: Webhook, *, sealed: SealedMaterial) -> Write:
    """Encrypt and overwrite a webhook's material. The condition fails if there is none."""
    return secret_writes.replace(table, vault, place(webhook), secret_rules.write_sealed(sealed))


def remove(table: Table, webhook: Webhook) -> Write:
    """Delete a webhook's material."""
    return secret_writes.remove(table, place(webhook))


def place(webhook: Webhook) -> Place:
    """Return where a webhook's material is stored."""
    return Place(Purpose.WEBHOOK, webhook.account_id, webhook.id)
