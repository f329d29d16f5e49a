"""Ends the open invites that identities and keys made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Unavailable
from gatehouse.core.maker import Makers, select
from gatehouse.core.reach import Reach
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import Table
from gatehouse.invites import rules, store
from gatehouse.invites.model import Invite


def list_made(
    table: Table, account_id: str, by: Makers, *, where: Callable[[Reach], bool], now: Micros
) -> list[str]:
    """List the ids, `invite:<id>`, of the open invites of such a reach that somebody made."""
    made = _made(table, account_id, by, now)
    return [f"invite:{one.id}" for one in made if where(rules.reach_of(one))]


def end_made(
    table: Table, account_id: str, by: Makers, *, origin: Origin, now: Micros
) -> list[str]:
    """End the open invites that an identity or some keys made; return their ids.

    They expire now. May run again. Raises Unavailable.
    """
    ended: list[str] = []
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        made = _made(table, account_id, by, now)
        if not made:
            return ended
        for invite in made:
            try:
                _end(table, invite, origin=origin, now=now)
            except audit.Refused as refused:
                conflict = refused
            else:
                ended.append(f"invite:{invite.id}")
    raise Unavailable from conflict


def were_redeemed(table: Table, account_id: str, by: Makers) -> bool:
    """Return whether an invite that some keys made was ever redeemed."""
    return bool(select([one for one in store.list_all(table, account_id) if one.uses], by))


def _end(table: Table, invite: Invite, *, origin: Origin, now: Micros) -> None:
    after = replace(invite, expires_at=now, ended=True)
    change = Change(
        "invite.end",
        f"invite:{invite.id}",
        before=rules.audit_view(invite),
        after=rules.audit_view(after),
    )
    endings.end(
        table,
        invite.account_id,
        writes={"invite": store.end(table, after, seen=invite)},
        changes=[change],
        counts={store.counter(invite.account_id): 1},
        origin=origin,
        now=now,
    )


def _made(table: Table, account_id: str, by: Makers, now: Micros) -> list[Invite]:
    found = store.list_all(table, account_id)
    return select([one for one in found if rules.is_open(one, now)], by)
