"""Changes a webhook: reads it, plans the change, writes it, and starts over if it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.request import Guard
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import Table, Write
from gatehouse.keys import actions as keys
from gatehouse.webhooks import rules, store
from gatehouse.webhooks.model import Webhook


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """The writes of a change, its audit event, and the webhook afterwards.

    `ended` is set for an ending: the counters that lose something, and how many.
    """

    writes: Mapping[str, Write]
    event: Change
    after: Webhook
    ended: Mapping[str, int] | None = None


def change_webhook(
    table: Table,
    account_id: str,
    webhook_id: str,
    *,
    plan: Callable[[Webhook], PlannedChange | None],
    origin: Origin,
    now: Micros,
    guard: Guard | None = None,
) -> Webhook:
    """Plan a change of the webhook as it is now, write it, and return the webhook afterwards.

    `plan` returns None to change nothing; it is called again if the webhook changed meanwhile.
    Raises NotFound, Unavailable, Unauthorized if the calling key is revoked, and audit's Refused
    if a condition of another room's write failed.
    """
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        before = store.get(table, account_id, webhook_id)
        planned = plan(before)
        if planned is None:
            return before
        try:
            _write(table, before, planned, origin=origin, now=now, guard=guard)
        except audit.Refused as refused:
            keys.refuse_ended(refused)
            if not {"webhook", "secret", "headers", "creator"} & refused.failed.keys():
                raise
            conflict = refused
            continue
        return planned.after
    raise Unavailable from conflict


def _write(
    table: Table,
    before: Webhook,
    planned: PlannedChange,
    *,
    origin: Origin,
    now: Micros,
    guard: Guard | None,
) -> None:
    if planned.ended is not None:
        endings.end(
            table,
            before.account_id,
            writes=planned.writes,
            changes=[planned.event],
            counts=planned.ended,
            origin=origin,
            now=now,
        )
        return
    audit.commit(
        table,
        before.account_id,
        writes=planned.writes,
        changes=[planned.event],
        origin=origin,
        now=now,
        claim=audit.Claim(guard, rules.target(before)) if guard else None,
    )
