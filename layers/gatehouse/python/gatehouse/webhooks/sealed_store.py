"""What the vault keeps of a webhook: one sealed text of its secrets and its headers' values."""

from __future__ import annotations

from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Table, Write
from gatehouse.secrets import actions as vaults
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.actions import Vault
from gatehouse.secrets.model import Place, Purpose, Sealer
from gatehouse.webhooks import rules
from gatehouse.webhooks.model import Material, Sealed, Webhook


def put_new(table: Table, vault: Sealer, webhook: Webhook, *, sealed: Sealed) -> Write:
    """Seal what a new webhook has."""
    return secret_writes.put_new(table, vault, _place(webhook), rules.write_sealed(sealed))


def replace(table: Table, vault: Sealer, webhook: Webhook, *, sealed: Sealed) -> Write:
    """Seal what a webhook has from now on."""
    return secret_writes.replace(table, vault, _place(webhook), rules.write_sealed(sealed))


def remove(table: Table, webhook: Webhook) -> Write:
    """Remove what a webhook had."""
    return secret_writes.remove(table, _place(webhook))


def read(table: Table, vault: Vault, webhook: Webhook) -> Sealed:
    """Read what a webhook has: as old as the webhook that was read, or newer.

    A newer one came with a newer version of the webhook, and what is decided on it is refused.
    """
    text = vaults.read(table, vault, _place(webhook))
    return Sealed() if text is None else rules.read_sealed(text)


def material(table: Table, vault: Vault, webhook: Webhook, *, now: Micros) -> Material | None:
    """Give the live secrets, the old one first, and the custom headers; None where it is gone."""
    text = vaults.read(table, vault, _place(webhook))
    return None if text is None else rules.material(rules.read_sealed(text), now=now)


def _place(webhook: Webhook) -> Place:
    return Place(Purpose.WEBHOOK, webhook.account_id, webhook.id)
