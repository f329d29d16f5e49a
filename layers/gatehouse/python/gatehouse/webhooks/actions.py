"""Webhooks: reads, creates, changes, rotates and deletes them.

`also` are writes of another room in the same transaction; their names must not be webhook, count or
secret. If one of their conditions fails, audit's Refused is raised.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids
from gatehouse.core.clock import SECOND, Micros
from gatehouse.core.errors import BoundReached, FieldRequired
from gatehouse.core.request import Call
from gatehouse.core.unset import UNSET, set_fields
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Write
from gatehouse.outbound import client as outbound
from gatehouse.secrets.actions import Vault
from gatehouse.signals.model import Signal
from gatehouse.webhooks import rules, sealed_store, secret_cache, secret_rules, store, writes
from gatehouse.webhooks.model import (
    MOST_WEBHOOKS,
    SECRET_BYTES,
    CheckedFields,
    CreatedWebhook,
    RotatedSecret,
    SealedMaterial,
    Webhook,
    WebhookFields,
)
from gatehouse.webhooks.update import PlannedChange, change_webhook

NO_WRITES: Mapping[str, Write] = MappingProxyType({})


def find(table: Table, account_id: str, webhook_id: str) -> Webhook | None:
    """Read an account's webhook, consistently; None if it does not exist."""
    return store.find(table, account_id, webhook_id)


def get(table: Table, account_id: str, webhook_id: str) -> Webhook:
    """Read an account's webhook, consistently. Raises NotFound."""
    return store.get(table, account_id, webhook_id)


def list_all(table: Table, account_id: str) -> list[Webhook]:
    """Read an account's webhooks, consistently, oldest first."""
    return store.list_all(table, account_id)


def matches(webhook: Webhook, signal: Signal) -> bool:
    """Return whether a webhook's filters match a signal, active or not. A ping never matches."""
    return rules.matches(webhook, signal)


def create(
    table: Table,
    call: Call,
    vault: Vault,
    *,
    fields: WebhookFields,
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NO_WRITES,
) -> CreatedWebhook:
    """Create a webhook and its secret, which is shown once.

    `own` are hosts that the URL must not lead to, in addition to the stack's. Raises BadInput that
    names the field, BoundReached, IdempotencyReused.
    """
    idempotency.check(table, call.guard)
    checked = check_fields(fields, own=own)
    new = new_webhook(call.caller.account_id, checked, now=call.now)
    outbound.check_host(new.url, own=own)
    secret = new_secret()
    headers = {} if checked.headers is UNSET else checked.headers
    created = writes.create(table, vault, new, secret=secret, headers=headers)
    try:
        audit.commit(
            table,
            new.account_id,
            writes=created | dict(also),
            changes=[writes.creation(new)],
            origin=Origin.of(call),
            now=call.now,
            claim=audit.Claim(call.guard, rules.target(new)) if call.guard else None,
        )
    except audit.Refused as refused:
        if "count" not in refused.failed:
            raise
        raise BoundReached(f"An account has at most {MOST_WEBHOOKS} webhooks") from refused
    return CreatedWebhook(new, secret)


def check_fields(fields: WebhookFields, *, own: Iterable[str] = ()) -> CheckedFields:
    """Check the fields that are set; does not resolve the URL's host. Raises BadInput."""
    checked = rules.check_fields(fields)
    if checked.url is UNSET:
        return checked
    return replace(checked, url=outbound.checked_url(checked.url, own=own))


def new_webhook(account_id: str, fields: CheckedFields, *, now: Micros) -> Webhook:
    """Return a new webhook with these fields. Writes nothing. Raises FieldRequired."""
    if fields.url is UNSET:
        raise FieldRequired("url")
    values = set_fields(fields)
    values.pop("headers", None)
    return Webhook(id=ids.new(now), account_id=account_id, created_at=now, **values)


def update(
    table: Table,
    call: Call,
    vault: Vault,
    webhook_id: str,
    *,
    fields: WebhookFields,
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NO_WRITES,
) -> Webhook:
    """Change the fields that are set. If nothing differs, write nothing, not even `also`."""
    return update_as(
        table,
        vault,
        call.caller.account_id,
        webhook_id=webhook_id,
        fields=fields,
        origin=Origin.of(call),
        now=call.now,
        own=own,
        also=also,
    )


def update_as(  # noqa: PLR0913 - a change, its origin, and other rooms' writes
    table: Table,
    vault: Vault,
    account_id: str,
    *,
    webhook_id: str,
    fields: WebhookFields,
    origin: Origin,
    now: Micros,
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NO_WRITES,
) -> Webhook:
    """Change a webhook without a caller's request; otherwise the same as `update`."""
    checked = check_fields(fields, own=own)
    if checked.url is not UNSET:
        outbound.check_host(checked.url, own=own)

    def plan(before: Webhook) -> PlannedChange | None:
        after, changed = rules.apply_fields(before, checked)
        planned: dict[str, Write] = {}
        if checked.headers is not UNSET:
            sealed = _sealed(table, vault, before)
            if dict(sealed.headers) != checked.headers:
                changed = [*changed, "headers"]
                sealed = replace(sealed, headers=checked.headers)
                planned["secret"] = sealed_store.replace(table, vault, before, sealed=sealed)
        if not changed:
            return None
        after = rules.next_version(after)
        planned["webhook"] = store.replace(table, after, seen=before)
        event = Change(
            "webhook.update",
            rules.target(before),
            before=rules.audit_view(before),
            after=rules.audit_view(after) | {"changed": changed},
        )
        return PlannedChange(planned | dict(also), event, after)

    return change_webhook(table, account_id, webhook_id, plan=plan, origin=origin, now=now)


def difference(webhook: Webhook, fields: CheckedFields) -> dict[str, Any]:
    """Map each field that would change to its values before and after, as audit events show."""
    return rules.difference(webhook, fields)


def remove(
    table: Table, call: Call, webhook_id: str, *, also: Mapping[str, Write] = NO_WRITES
) -> Webhook:
    """Delete a webhook and its secret. Raises NotFound."""

    def plan(before: Webhook) -> PlannedChange:
        planned = store.remove(table, before) | dict(also)
        planned["secret"] = sealed_store.remove(table, before)
        event = Change("webhook.delete", rules.target(before), before=rules.audit_view(before))
        return PlannedChange(planned, event, before)

    return change_webhook(
        table,
        call.caller.account_id,
        webhook_id,
        plan=plan,
        origin=Origin.of(call),
        now=call.now,
    )


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
    """
    idempotency.check(table, call.guard)
    grace = secret_rules.check_grace(grace_seconds)
    secret = new_secret()
    webhook = change_webhook(
        table,
        call.caller.account_id,
        webhook_id,
        plan=_rotation(table, vault, secret, grace=grace, now=call.now, also=also),
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
    return _sealed(table, vault, webhook).seeded == secret_rules.digest(secret)


def check_secret(text: str) -> str:
    """Check a secret that an operator provides. The BadInput does not show it."""
    return secret_rules.check_secret(text)


def new_secret() -> str:
    """Return a new random secret. Writes nothing."""
    return secret_rules.secret_text(secrets.token_bytes(SECRET_BYTES))


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
        sealed = _sealed(table, vault, before)
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


def _sealed(table: Table, vault: Vault, webhook: Webhook) -> SealedMaterial:
    # A webhook that was just deleted has none; the write on its version fails then.
    return secret_cache.find_sealed(table, vault, webhook) or SealedMaterial()
