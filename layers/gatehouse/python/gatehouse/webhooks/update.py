"""How a webhook is changed: on what stands, with its record, again where it moved meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import NotFound, Unavailable
from gatehouse.core.request import Guard
from gatehouse.dynamo.table import Table, Write
from gatehouse.webhooks import rules, store
from gatehouse.webhooks.model import Webhook

_TRIES = 4


@dataclass(frozen=True, slots=True)
class Decision:
    """What is written, how it is recorded, and the webhook that it makes."""

    writes: Mapping[str, Write]
    change: Change
    made: Webhook


def get(table: Table, account_id: str, webhook_id: str) -> Webhook:
    """Read a webhook or raise NotFound."""
    webhook = store.read(table, account_id, webhook_id)
    if webhook is None:
        raise NotFound("Webhook not found", code="WEBHOOK_NOT_FOUND")
    return webhook


def decided(
    table: Table,
    account_id: str,
    webhook_id: str,
    *,
    decide: Callable[[Webhook], Decision | None],
    origin: Origin,
    now: Micros,
    guard: Guard | None = None,
) -> Webhook:
    """Decide about a webhook as it stands and write it; None leaves it as it is."""
    for _ in range(_TRIES):
        before = get(table, account_id, webhook_id)
        decision = decide(before)
        if decision is None:
            return before
        try:
            audit.commit(
                table,
                account_id,
                writes=decision.writes,
                changes=[decision.change],
                origin=origin,
                now=now,
                claim=audit.Claim(guard, rules.target(before)) if guard else None,
            )
        except audit.Refused as refused:
            if not {"webhook", "secret"} & refused.failed.keys():
                raise
            continue
        return decision.made
    raise Unavailable
