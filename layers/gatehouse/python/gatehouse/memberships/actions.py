"""Change who may act: the identity first, with its audit event, then every key of it.

The identity's change leaves a mark in its own transaction. Whoever changes it answers when all
keys have followed; if that crashes, the sweeper finds the mark and finishes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from gatehouse.audit import actions as audit
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Conflict, GatehouseError, GrantsExceeded, Unavailable
from gatehouse.core.grants import Grants
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables, TransactionCanceled, TransactionConflict, transact
from gatehouse.identities import actions as identities
from gatehouse.identities.model import Identity
from gatehouse.keys.propagation import follow

_TRIES = 4
_AT_ONCE = 25


def change(tables: Tables, call: Call, identity_id: str, fields: Mapping[str, Any]) -> Identity:
    """Change an identity. `fields`: name, is_admin, claw_type, status, ceiling or half of it.

    Raises Conflict IDENTITY_LAST_ADMIN rather than leave an account without an admin, and
    GrantsExceeded when the identity's ceiling, or the new one, lies beyond the caller's own grants
    and the change concerns what the identity may do.
    """
    return apply(
        tables,
        call.caller.account_id,
        identity_id,
        fields=fields,
        origin=Origin.of(call),
        now=call.now,
        within=call.caller.grants,
    )


def apply(
    tables: Tables,
    account_id: str,
    identity_id: str,
    *,
    fields: Mapping[str, Any],
    origin: Origin,
    now: Micros,
    within: Grants | None = None,
) -> Identity:
    """Change an identity on nobody's behalf but the stack's; otherwise as `change`.

    Where it changes who may act, the ceiling must lie `within` before and after; None: anything
    goes.
    """
    for _ in range(_TRIES):
        before = identities.get(tables.main, account_id, identity_id)
        after = identities.changed(before, fields)
        if within is not None and after.standing != before.standing:
            # Who may act is changed only by who could have made it so: both what was and what
            # becomes lie within, as with keys.
            for ceiling in (before.ceiling, after.ceiling):
                excess = ceiling.excess_over(within)
                if excess:
                    raise GrantsExceeded("Beyond this key's own grants", details=excess)
        # A repeat of a change that died half-way changes nothing, and still has to finish it.
        to_follow = after.standing != before.standing or identities.is_marked(tables.main, before)
        try:
            _commit(tables, before, after, origin=origin, now=now)
        except audit.Refused as refused:
            # Of an identity that changed meanwhile the tally may have counted that very change.
            if "admins" in refused.failed and "identity" not in refused.failed:
                raise Conflict(
                    "The last admin stays an active admin", code="IDENTITY_LAST_ADMIN"
                ) from refused
            continue
        if to_follow:
            finish(tables, after, origin=origin, now=now)
        return after
    raise Unavailable


def finish(tables: Tables, identity: Identity, *, origin: Origin, now: Micros) -> None:
    """Let every key follow the identity, then take the mark away. May be done again."""
    follow(tables, identity, origin=origin, now=now)
    # A newer change left a mark of its own, or is about to: then that one takes it away.
    with contextlib.suppress(TransactionCanceled, TransactionConflict):
        transact(tables.main.client, [identities.unmark(tables.main, identity)])


def sweep(tables: Tables, *, origin: Origin, now: Micros) -> int:
    """Finish what crashes left behind; gives how many identities that were.

    One that cannot be finished holds up no other; its error is raised when all had their turn.
    """
    marked = identities.marked(tables.main, limit=_AT_ONCE)
    failed: GatehouseError | None = None
    for account_id, identity_id in marked:
        try:
            identity = identities.get(tables.main, account_id, identity_id)
            finish(tables, identity, origin=origin, now=now)
        except GatehouseError as error:
            failed = error
    if failed is not None:
        raise failed
    return len(marked)


def _commit(
    tables: Tables, before: Identity, after: Identity, *, origin: Origin, now: Micros
) -> None:
    writes = {
        "identity": identities.replace(tables.main, after, seen=before),
        **identities.recount(tables.main, before, after),
    }
    if after.standing != before.standing:
        writes["mark"] = identities.mark(tables.main, after)
    audit.commit(
        tables.main,
        after.account_id,
        writes=writes,
        changes=[
            Change(
                "identity.update",
                f"identity:{after.id}",
                before=identities.audit_view(before),
                after=identities.audit_view(after),
            )
        ],
        origin=origin,
        now=now,
    )
