"""Webhooks: reads, creates, changes and deletes them. `rotation` rotates their secrets.

`also` are writes of another room in the same transaction; their names must not be webhook, count,
secret, headers, creator or caller. If one of their conditions fails, audit's Refused is raised.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core import ids, reach
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BoundReached, FieldRequired, Unavailable
from gatehouse.core.maker import BOOTSTRAP, Maker
from gatehouse.core.principal import Principal
from gatehouse.core.reach import Reach
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.core.unset import UNSET, set_fields
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.table import Table, Write
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.outbound import client as outbound
from gatehouse.revocation import writes as revocation_writes
from gatehouse.secrets.actions import Vault
from gatehouse.signals.model import Signal
from gatehouse.webhooks import (
    creators,
    rules,
    sealed_store,
    secret_cache,
    secret_rules,
    store,
    writes,
)
from gatehouse.webhooks.model import (
    MOST_WEBHOOKS,
    SECRET_BYTES,
    CheckedFields,
    CreatedWebhook,
    SealedSecrets,
    UpdatedWebhook,
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


def check_reach(webhook: Webhook, caller: Principal) -> None:
    """Raise GrantsExceeded if a caller who sends its deliveries would reach beyond their key."""
    reach.check(Reach.of(caller), rules.reach_of_deliveries(webhook))


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
    names the field, GrantsExceeded, BoundReached, IdempotencyReused.
    """
    idempotency.check(table, call.guard)
    checked = check_fields(fields, own=own)
    maker = Maker.of(call.caller)
    new = new_webhook(call.caller.account_id, checked, now=call.now, maker=maker)
    reach.check(Reach.of(call.caller), rules.reach_of(new))
    outbound.check_host(new.url, own=own)
    secret = new_secret()
    headers = {} if checked.headers is UNSET else checked.headers
    created = writes.create(table, vault, new, secret=secret, headers=headers)
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        check = creators.check_active(table, new.account_id, maker)
        try:
            audit.commit(
                table,
                new.account_id,
                writes=created | check | key_writes.check_caller(table, call) | dict(also),
                changes=[writes.creation(new)],
                origin=Origin.of(call),
                now=call.now,
                claim=audit.Claim(call.guard, rules.target(new)) if call.guard else None,
            )
        except audit.Refused as refused:
            keys.refuse_ended(refused)
            if "count" in refused.failed:
                raise BoundReached(f"An account has at most {MOST_WEBHOOKS} webhooks") from refused
            if "creator" not in refused.failed:
                raise
            conflict = refused
        else:
            return CreatedWebhook(new, secret)
    raise Unavailable from conflict


def check_fields(fields: WebhookFields, *, own: Iterable[str] = ()) -> CheckedFields:
    """Check the fields that are set; does not resolve the URL's host. Raises BadInput."""
    checked = rules.check_fields(fields)
    if checked.url is UNSET:
        return checked
    return replace(checked, url=outbound.checked_url(checked.url, own=own))


def new_webhook(
    account_id: str, fields: CheckedFields, *, now: Micros, maker: Maker = BOOTSTRAP
) -> Webhook:
    """Return a new webhook with these fields. Writes nothing. Raises FieldRequired."""
    if fields.url is UNSET:
        raise FieldRequired("url")
    values = set_fields(fields)
    values.pop("headers", None)
    if fields.filters is not UNSET:
        values["all_filters"] = fields.filters
    return Webhook(id=ids.new(now), account_id=account_id, created_at=now, maker=maker, **values)


def update(
    table: Table,
    call: Call,
    vault: Vault,
    webhook_id: str,
    *,
    fields: WebhookFields,
    own: Iterable[str] = (),
    also: Mapping[str, Write] = NO_WRITES,
) -> UpdatedWebhook:
    """Change the fields that are set. If nothing differs, write nothing, not even `also`.

    Header values are bound to the origin of the URL: another one without new headers drops them.
    Raises GrantsExceeded unless the caller reaches as far as the webhook does and ever did, or the
    change only narrows or ends it.
    """
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
        call=call,
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
    call: Call | None = None,
) -> UpdatedWebhook:
    """Change a webhook like `update`, for this request; None: for the stack, unbounded."""
    checked = check_fields(fields, own=own)
    if checked.url is not UNSET:
        outbound.check_host(checked.url, own=own)

    by = BOOTSTRAP if call is None else Maker.of(call.caller)
    dropped: tuple[str, ...] = ()

    def plan(before: Webhook) -> PlannedChange | None:
        after, changed = rules.apply_fields(before, checked)
        planned: dict[str, Write] = {}
        nonlocal dropped
        dropped = rules.dropped_headers(before, checked)
        if dropped:
            after = replace(after, header_names=())
            planned["headers"] = sealed_store.put_headers(table, vault, after, headers={})
        elif checked.headers is not UNSET and (
            not rules.has_same_origin(before, after)
            or secret_cache.find_headers(table, vault, before) != checked.headers
        ):
            planned["headers"] = sealed_store.put_headers(
                table, vault, after, headers=checked.headers
            )
        if "headers" in planned:
            changed = [*changed, "headers"]
        if not changed:
            return None
        narrows = rules.only_narrows(before, after, changed=changed)
        if not narrows:
            planned |= _widening(table, call, after, changed=changed)
        resumes = after.active and not before.active
        if resumes or (after.active and not narrows and "filters" in changed):
            maker, check = creators.responsible(table, before, after, by=by)
            after = replace(after, maker=maker)
            planned |= check
        after = rules.next_version(after)
        planned["webhook"] = store.replace(table, after, seen=before)
        event = Change(
            "webhook.update",
            rules.target(before),
            before=rules.audit_view(before),
            after=rules.audit_view(after)
            | {"changed": changed}
            | ({"dropped_headers": list(dropped)} if dropped else {}),
        )
        ended = endings.NO_COUNTS if narrows and not resumes else None
        return PlannedChange(planned | dict(also), event, after, ended)

    changed_webhook = change_webhook(
        table, account_id, webhook_id, plan=plan, origin=origin, now=now
    )
    return UpdatedWebhook(changed_webhook, dropped)


def _widening(
    table: Table, call: Call | None, after: Webhook, *, changed: Iterable[str]
) -> dict[str, Write]:
    """Check the reach of a change that does more than narrow a webhook; return its writes."""
    if call is None:
        return {}
    reach.check(Reach.of(call.caller), rules.reach_of_deliveries(after))
    writes = key_writes.check_caller(table, call)
    if not {"url", "filters", "active", "headers"}.isdisjoint(changed):
        writes |= revocation_writes.changed(table, call, rules.target(after))
    return writes


def difference(webhook: Webhook, fields: CheckedFields) -> dict[str, Any]:
    """Map each field that would change to its values before and after, as audit events show."""
    return rules.difference(webhook, fields)


def remove(
    table: Table, call: Call, webhook_id: str, *, also: Mapping[str, Write] = NO_WRITES
) -> Webhook:
    """Delete a webhook and its secret. Raises NotFound."""

    def plan(before: Webhook) -> PlannedChange:
        planned = store.remove(table, before) | sealed_store.remove(table, before) | dict(also)
        event = Change("webhook.delete", rules.target(before), before=rules.audit_view(before))
        return PlannedChange(planned, event, before, {store.counter(before.account_id): 1})

    return change_webhook(
        table,
        call.caller.account_id,
        webhook_id,
        plan=plan,
        origin=Origin.of(call),
        now=call.now,
    )


def new_secret() -> str:
    """Return a new random secret. Writes nothing."""
    return secret_rules.secret_text(secrets.token_bytes(SECRET_BYTES))


def read_secrets(table: Table, vault: Vault, webhook: Webhook) -> SealedSecrets:
    """Read and decrypt a webhook's secrets.

    A webhook that was just deleted has none; the write on its version fails then.
    """
    return secret_cache.find_secrets(table, vault, webhook) or SealedSecrets()
