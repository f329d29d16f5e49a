"""Webhooks: made, changed and removed by admins; marked by what becomes of their deliveries.

`also` are writes of another room that must happen in the very transaction; their names must be
none of webhook, count, secret. When a condition of theirs fails, audit's Refused passes through.
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
from gatehouse.core.errors import BoundReached
from gatehouse.core.request import Call
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Write
from gatehouse.outbound import client as outbound
from gatehouse.secrets.actions import Vault
from gatehouse.webhooks import health, rules, sealed_store, store
from gatehouse.webhooks.model import (
    MOST_WEBHOOKS,
    Rotated,
    Sealed,
    Secret,
    Shown,
    Webhook,
)
from gatehouse.webhooks.update import Decision, decided

NOTHING: Mapping[str, Write] = MappingProxyType({})
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

# What other rooms ask, and what they write in their own transactions: `unchanged` demands that the
# webhook stands with the version that was seen, `failing` and `recovered` that it stands at all.
all_of = store.all_of
find = store.read
material = sealed_store.material
matches = rules.matches
filters_of = rules.filters_of
secret_of = rules.secret_of
audit_view = rules.audit_view
difference = rules.difference
unchanged = store.unchanged
failing = store.failing
recovered = store.recovered
disable = health.disable
note_success = health.note_success
note_failure = health.note_failure


def create(
    table: Table,
    call: Call,
    vault: Vault,
    *,
    fields: Mapping[str, Any],
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NOTHING,
) -> Shown:
    """Make a webhook and its secret, shown once.

    `fields`: url, filters, active, description, retry_schedule, headers. `own` are hosts that
    the URL must not lead to, beside the stack's own. Raises BadInput that names the field,
    BoundReached, IdempotencyReused.
    """
    idempotency.check(table, call.guard)
    wanted, headers = checked({"url": "", **fields}, own=own)
    outbound.check_host(wanted["url"], own=own)
    new = Webhook(
        id=ids.new(call.now), account_id=call.caller.account_id, created_at=call.now, **wanted
    )
    secret = new_secret()
    try:
        audit.commit(
            table,
            new.account_id,
            writes=creating(table, vault, new, secret=secret, headers=headers or {}) | dict(also),
            changes=[creation(new)],
            origin=Origin.of(call),
            now=call.now,
            claim=audit.Claim(call.guard, rules.target(new)) if call.guard else None,
        )
    except audit.Refused as refused:
        if "count" not in refused.failed:
            raise
        raise BoundReached(f"An account has at most {MOST_WEBHOOKS} webhooks") from refused
    return Shown(new, secret)


def checked(
    fields: Mapping[str, Any], *, own: Iterable[str] = ()
) -> tuple[dict[str, Any], dict[str, str] | None]:
    """Check what was given of a webhook; the addresses of its URL's host are another check.

    Gives its fields, and its headers, None where none were given. Raises BadInput.
    """
    wanted, headers = rules.checked(fields)
    if "url" in wanted:
        wanted["url"] = outbound.checked_url(wanted["url"], own=own)
    return wanted, headers


def creating(
    table: Table,
    vault: Vault,
    webhook: Webhook,
    *,
    secret: str,
    headers: Mapping[str, str] = NO_HEADERS,
    seeded: bool = False,
) -> dict[str, Write]:
    """Give the writes of a new webhook; `count` fails where the account has as many as it may.

    `seeded`: the secret was brought along.
    """
    sealed = Sealed((Secret(secret),), headers, rules.digest(secret) if seeded else None)
    writes = store.create(table, webhook)
    writes["secret"] = sealed_store.put_new(table, vault, webhook, sealed=sealed)
    return writes


def creation(webhook: Webhook) -> Change:
    """Name the creation of a webhook for the audit trail."""
    return Change("webhook.create", rules.target(webhook), after=rules.audit_view(webhook))


def update(
    table: Table,
    call: Call,
    vault: Vault,
    webhook_id: str,
    *,
    fields: Mapping[str, Any],
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NOTHING,
) -> Webhook:
    """Change a webhook; what changes nothing writes nothing, not even `also`.

    `fields` as for `create`, those that are given; None takes a field back to its default.
    """
    return apply(
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


def apply(  # noqa: PLR0913 - a change, who makes it, and what goes with it
    table: Table,
    vault: Vault,
    account_id: str,
    *,
    webhook_id: str,
    fields: Mapping[str, Any],
    origin: Origin,
    now: Micros,
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NOTHING,
) -> Webhook:
    """Change a webhook on nobody's behalf but the stack's; otherwise as `update`."""
    wanted, headers = checked(fields, own=own)
    if "url" in wanted:
        outbound.check_host(wanted["url"], own=own)

    def decide(before: Webhook) -> Decision | None:
        after, changed = rules.changed(before, wanted)
        writes = {}
        if headers is not None:
            sealed = sealed_store.read(table, vault, before)
            if dict(sealed.headers) != headers:
                changed = [*changed, "headers"]
                sealed = replace(sealed, headers=headers)
                writes["secret"] = sealed_store.replace(table, vault, before, sealed=sealed)
        if not changed:
            return None
        after = rules.next_version(after)
        writes["webhook"] = store.replace(table, after, seen=before)
        said = rules.audit_view(after) | {"changed": changed}
        change = Change(
            "webhook.update", rules.target(before), before=rules.audit_view(before), after=said
        )
        return Decision(writes | dict(also), change, after)

    return decided(table, account_id, webhook_id, decide=decide, origin=origin, now=now)


def remove(
    table: Table, call: Call, webhook_id: str, *, also: Mapping[str, Write] = NOTHING
) -> Webhook:
    """Remove a webhook and its secret."""

    def decide(before: Webhook) -> Decision:
        writes = store.remove(table, before) | dict(also)
        writes["secret"] = sealed_store.remove(table, before)
        change = Change("webhook.delete", rules.target(before), before=rules.audit_view(before))
        return Decision(writes, change, before)

    return decided(
        table,
        call.caller.account_id,
        webhook_id,
        decide=decide,
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
    also: Mapping[str, Write] = NOTHING,
) -> Rotated:
    """Make a new secret, shown once; the current one lives on for the grace, None for a day.

    At most two live: a rotation during a grace ends the one that was to end by itself.
    """
    idempotency.check(table, call.guard)
    grace = rules.grace_of(grace_seconds)
    secret = new_secret()
    made = decided(
        table,
        call.caller.account_id,
        webhook_id,
        decide=_rotation(table, vault, secret, grace=grace, now=call.now, also=also),
        origin=Origin.of(call),
        now=call.now,
        guard=call.guard,
    )
    return Rotated(made, secret, call.now + grace)


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
    """Rotate to a secret that was brought along, with a day's grace, on the stack's behalf."""
    decide = _rotation(table, vault, secret, grace=rules.grace_of(None), now=now, seeded=True)
    return decided(table, account_id, webhook_id, decide=decide, origin=origin, now=now)


def was_seeded(table: Table, vault: Vault, webhook: Webhook, *, secret: str) -> bool:
    """Tell whether this secret is the last one that was brought along for a webhook."""
    return sealed_store.read(table, vault, webhook).seeded == rules.digest(secret)


def new_secret() -> str:
    """Make a secret from the operating system's randomness. Writes nothing."""
    return rules.secret_text(secrets.token_bytes(rules.SECRET_BYTES))


def _rotation(
    table: Table,
    vault: Vault,
    secret: str,
    *,
    grace: Micros,
    now: Micros,
    seeded: bool = False,
    also: Mapping[str, Write] = NOTHING,
) -> Callable[[Webhook], Decision]:
    def decide(before: Webhook) -> Decision:
        after = rules.next_version(before)
        sealed = sealed_store.read(table, vault, before)
        sealed = rules.rotated(sealed, secret, grace=grace, now=now, seeded=seeded)
        writes = {
            "webhook": store.replace(table, after, seen=before),
            "secret": sealed_store.replace(table, vault, before, sealed=sealed),
        }
        said = rules.audit_view(after) | {"grace_seconds": grace // SECOND}
        change = Change(
            "webhook.rotate_secret",
            rules.target(before),
            before=rules.audit_view(before),
            after=said,
        )
        return Decision(writes | dict(also), change, after)

    return decide
