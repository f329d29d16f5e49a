"""The webhooks' part of other rooms' transactions: creation, checks, and what deliveries set."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gatehouse.audit.model import Change
from gatehouse.core.clock import Micros
from gatehouse.dynamo.table import Table, Write
from gatehouse.secrets.model import Sealer
from gatehouse.webhooks import rules, sealed_store, secret_rules, store
from gatehouse.webhooks.model import SealedSecrets, Secret, Webhook

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def create(
    table: Table,
    vault: Sealer,
    webhook: Webhook,
    *,
    secret: str,
    headers: Mapping[str, str] = NO_HEADERS,
    seeded: bool = False,
) -> dict[str, Write]:
    """Return the writes of a new webhook; `count` fails if the account has its most webhooks.

    `seeded`: a bootstrap file provided the secret.
    """
    digest = secret_rules.digest(secret) if seeded else None
    sealed = SealedSecrets((Secret(secret),), digest)
    return store.create(table, webhook) | sealed_store.create(
        table, vault, webhook, sealed=sealed, headers=headers
    )


def creation(webhook: Webhook) -> Change:
    """Return the audit event of a webhook's creation."""
    return Change("webhook.create", rules.target(webhook), after=rules.audit_view(webhook))


def check_unchanged(table: Table, webhook: Webhook) -> Write:
    """Check that a webhook's version is still the one that was read."""
    return store.check_unchanged(table, webhook)


def mark_failing(table: Table, webhook: Webhook, *, now: Micros) -> Write:
    """Set `failing`. The condition fails if the webhook was deleted."""
    return store.mark_failing(table, webhook, now=now)
