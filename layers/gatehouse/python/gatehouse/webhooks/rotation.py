"""Rotates a webhook's signing secret. Secrets of bootstrap files come in here too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.request import Call
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Write
from gatehouse.keys import writes as key_writes
from gatehouse.revocation import writes as revocation_writes
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import rules, sealed_store, secret_rules, store
from gatehouse.webhooks.actions import NO_WRITES, check_reach, new_secret, read_secrets
from gatehouse.webhooks.model import RotatedSecret, Webhook
from gatehouse.webhooks.update import PlannedChange, change_webhook


def rotate_secret(
    table: Table,
    call: Call,
    vault: Vault,
    webhook_id: str,
    *,
    grace_seconds: int | None,
    also: Mapping[str, Write] = NO_WRITES,
) -> RotatedSecret:
    """Create a new secret, shown once; the current one stays live for the grace, None for a day.

    At most two are live: a rotation during a grace ends the secret that was about to expire.
    Raises GrantsExceeded if the webhook reaches further than the caller.
    """
    idempotency.check(table, call.guard)
    grace = secret_rules.check_grace(grace_seconds)
    secret = new_secret()
    also = {
        **also,
        **key_writes.check_caller(table, call),
        **revocation_writes.changed(table, call, f"webhook:{webhook_id}"),
    }
    rotation = _rotation(table, vault, secret, grace=grace, now=call.now, also=also)

    def plan(before: Webhook) -> PlannedChange:
        check_reach(before, call.caller)
        return rotation(before)

    webhook = change_webhook(
        table,
        call.caller.account_id,
        webhook_id,
        plan=plan,
        origin=Origin.of(call),
        now=call.now,
        guard=call.guard,
    )
    return RotatedSecret(webhook, secret, call.now + grace)


def seed_secret(
    table: Table,
    vault: Vault,
    account_id: str,
    *,
    webhook_id: str,
    secret: str,
    origin: Origin,
    now: Micros,
) -> Webhook:
    """Rotate to a secret that a bootstrap file provided, with a day's grace."""
    grace = secret_rules.check_grace(None)
    plan = _rotation(table, vault, secret, grace=grace, now=now, seeded=True)
    return change_webhook(table, account_id, webhook_id, plan=plan, origin=origin, now=now)


def was_seeded(table: Table, vault: Vault, webhook: Webhook, *, secret: str) -> bool:
    """Return whether this is the last secret that a bootstrap file provided for a webhook."""
    return read_secrets(table, vault, webhook).seeded == secret_rules.digest(secret)


def check_secret(text: str) -> str:
    """Check a secret that an operator provides. The BadInput does not show it."""
    return secret_rules.check_secret(text)


def _rotation(
    table: Table,
    vault: Vault,
    secret: str,
    *,
    grace: Micros,
    now: Micros,
    seeded: bool = False,
    also: Mapping[str, Write] = NO_WRITES,
) -> Callable[[Webhook], PlannedChange]:
    def plan(before: Webhook) -> PlannedChange:
        after = rules.next_version(before)
        sealed = read_secrets(table, vault, before)
        sealed = secret_rules.rotate(sealed, secret, grace=grace, now=now, seeded=seeded)
        planned = {
            "webhook": store.replace(table, after, seen=before),
            "secret": sealed_store.replace(table, vault, before, sealed=sealed),
        }
        event = Change(
            "webhook.rotate_secret",
            rules.target(before),
            before=rules.audit_view(before),
            after=rules.audit_view(after) | {"grace_seconds": grace // SECOND},
        )
        return PlannedChange(planned | dict(also), event, after)

    return plan
