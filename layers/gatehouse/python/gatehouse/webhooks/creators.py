"""What identities and keys made here: lists it, ends it, and pauses it with its creator.

A webhook whose creator is not an active admin, or has a ceiling that allows less than it receives,
is inactive, and its deliveries are parked, as if somebody had paused it. `disabled_reason` says
why. It becomes active again when its creator could create it, unless another admin activated it
before: then it is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.maker import MadeBy, Maker, Makers, select
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import Table, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import Identity
from gatehouse.webhooks import rules, store
from gatehouse.webhooks.model import CREATOR_ABSENT, KEY_REVOKED, Webhook


def find(table: Table, account_id: str, webhook_id: str) -> Webhook | None:
    """Read an account's webhook, consistently; None if it does not exist."""
    return store.find(table, account_id, webhook_id)


def list_waiting(table: Table, account_id: str, by: Makers) -> list[str]:
    """List the ids of what is inactive because of how its creator stands."""
    made = _made(table, account_id, by)
    return [rules.target(one) for one in made if one.disabled_reason in CREATOR_ABSENT]


def end_made(
    table: Table, account_id: str, by: Makers, *, origin: Origin, now: Micros
) -> list[str]:
    """Make inactive what an identity or some keys made; return the ids of what changed.

    It stays, with `disabled_reason` creator_key_revoked, so that another admin can activate it and
    answers for it from then on. May run again. Raises Unavailable.
    """
    changed = []
    conflict: audit.Refused | None = None
    for webhook in _made(table, account_id, by):
        for _ in ON_CHANGE.tries():
            before = store.find(table, account_id, webhook.id)
            if before is None or not select([before], by):
                break
            after = replace(before, active=False, disabled_reason=KEY_REVOKED)
            if after == before:
                break
            try:
                _write(table, before, after, also={}, origin=origin, now=now)
            except audit.Refused as refused:
                conflict = refused
            else:
                changed.append(rules.target(before))
                break
        else:
            raise Unavailable from conflict
    return changed


def follow(
    table: Table,
    account_id: str,
    identity_id: str,
    *,
    unpark: Callable[[str], Mapping[str, Write]],
    origin: Origin,
    now: Micros,
) -> list[str]:
    """Pause or resume what an identity made, as its state is now; return the ids of what goes on.

    `unpark` returns, for the id of a webhook, the write that has its parked deliveries sent. Each
    change has a condition on the identity that was read, so of two runs at once the one that read
    an older state changes nothing more. Raises Unavailable. May run again.
    """
    resumed: list[str] = []
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        creator = identities.get(table, account_id, identity_id)
        made = _made(table, account_id, MadeBy(identity_id))
        pairs = [(one, rules.following(one, _absence(creator, one))) for one in made]
        for before, after in pairs:
            if after == before:
                continue
            also = {"creator": identity_writes.unchanged(table, creator)}
            also |= unpark(before.id) if after.active else {}
            try:
                _write(table, before, after, also=also, origin=origin, now=now)
            except audit.Refused as refused:
                conflict = refused
                break
            if after.active:
                resumed.append(rules.target(before))
        else:
            return resumed
    raise Unavailable from conflict


def responsible(
    table: Table, before: Webhook, after: Webhook, *, by: Maker
) -> tuple[Maker, dict[str, Write]]:
    """Return who answers for a webhook that `by` activates or widens, and the check that they may.

    It is its creator as before, if they could create it as it is now. Otherwise it is `by`, who
    adopts it. Raises Conflict if that is not an active admin any more either.
    """
    creator = _find(table, before.account_id, before.maker)
    lasts = creator is None or _absence(creator, after) is None
    maker = before.maker if lasts and before.disabled_reason != KEY_REVOKED else by
    return maker, check_active(table, before.account_id, maker)


def check_active(table: Table, account_id: str, maker: Maker) -> dict[str, Write]:
    """Return the check `creator` that a maker is still the active admin who was read now.

    The stack itself needs none. Raises Conflict if they are not.
    """
    if maker.identity_id is None:
        return {}
    creator = identities.get_acting_admin(table, account_id, maker.identity_id)
    return {"creator": identity_writes.unchanged(table, creator)}


def _absence(creator: Identity, webhook: Webhook) -> str | None:
    return creator.absence_for(rules.reach_of_deliveries(webhook))


def _find(table: Table, account_id: str, maker: Maker) -> Identity | None:
    if maker.identity_id is None:
        return None
    return identities.get(table, account_id, maker.identity_id)


def _made(table: Table, account_id: str, by: Makers) -> list[Webhook]:
    return select(store.list_all(table, account_id), by)


def _write(
    table: Table,
    before: Webhook,
    after: Webhook,
    *,
    also: Mapping[str, Write],
    origin: Origin,
    now: Micros,
) -> None:
    """Write a webhook as it follows its creator. Raises Refused if one of them changed."""
    after = rules.next_version(after)
    change = Change(
        "webhook.enable" if after.active else "webhook.disable",
        rules.target(before),
        before=rules.audit_view(before),
        after=rules.audit_view(after),
    )
    writes = {"webhook": store.replace(table, after, seen=before), **also}
    write = audit.commit if after.active else endings.end
    write(table, before.account_id, writes=writes, changes=[change], origin=origin, now=now)
