"""Change an identity, with its audit event, and then copy the change into each of its keys.

The transaction that changes an identity also writes a marker. A change that only takes something
from the identity is an ending: its audit event follows. The request is answered when all
keys are updated; if the function dies before that, the sweeper finds the marker and completes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core import reach
from gatehouse.core.clock import Micros
from gatehouse.core.errors import Conflict, GatehouseError, Unavailable
from gatehouse.core.reach import Reach
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import (
    Tables,
    TransactionCanceled,
    TransactionConflict,
    Write,
    transact,
)
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import Identity, IdentityPatch
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.lists import highest_rate_limit, list_live_of_others
from gatehouse.keys.propagation import propagate
from gatehouse.memberships.made import Made, compare, follow
from gatehouse.revocation import writes as revocation_writes

# How many marked identities one sweep completes.
_MOST_PER_SWEEP = 25


@dataclass(frozen=True, slots=True)
class ChangedIdentity:
    """An identity after a change, and what waits or goes on with it; None if nothing does.

    `live_keys` are the keys of others that an identity made which is no active admin any more. They
    belong to their owners and go on.
    """

    identity: Identity
    waiting: Made | None = None
    resumed: Made | None = None
    live_keys: tuple[str, ...] = ()


def change(tables: Tables, call: Call, identity_id: str, patch: IdentityPatch) -> ChangedIdentity:
    """Change an identity on behalf of the caller. What it made waits or goes on with it.

    Raises Conflict IDENTITY_LAST_ADMIN rather than leave an account without an admin, and
    GrantsExceeded if the change concerns what the identity may do, does not only narrow it, and
    the identity reaches further than the caller before or after it. An identity has no expiry, so
    a key that expires can only narrow one. Its rate limit is the highest that one of its keys has.
    """
    return apply(
        tables,
        call.caller.account_id,
        identity_id,
        patch=patch,
        origin=Origin.of(call),
        now=call.now,
        call=call,
    )


def apply(
    tables: Tables,
    account_id: str,
    identity_id: str,
    *,
    patch: IdentityPatch,
    origin: Origin,
    now: Micros,
    call: Call | None = None,
) -> ChangedIdentity:
    """Change an identity. Like `change`, for this request; None: for the stack, unbounded."""
    conflict: audit.Refused | None = None
    for _ in ON_CHANGE.tries():
        before = identities.get(tables.main, account_id, identity_id)
        after = identities.patched(before, patch)
        concerns_keys = after.rights != before.rights
        if call is not None and concerns_keys:
            _check_reach(tables, Reach.of(call.caller), before=before, after=after, now=now)
        # If an earlier request died half-way, its repeat changes nothing but must complete it.
        must_propagate = concerns_keys or identities.has_marker(tables.main, before)
        try:
            widening = {} if call is None else _widening(tables, call, before, after)
            _write(tables, before, after, widening=widening, origin=origin, now=now)
        except audit.Refused as refused:
            conflict = refused
            keys.refuse_ended(refused)
            # If the identity changed too, that change may be what the counter already includes.
            if "admins" in refused.failed and "identity" not in refused.failed:
                raise Conflict(
                    "The last admin stays an active admin", code="IDENTITY_LAST_ADMIN"
                ) from refused
            continue
        resumed = finish(tables, after, origin=origin, now=now) if must_propagate else ()
        waits, goes_on = compare(tables, before, after, resumed=resumed, now=now)
        live_keys = (
            list_live_of_others(tables, after, now=now)
            if before.is_acting_admin and not after.is_acting_admin
            else ()
        )
        return ChangedIdentity(after, waits, goes_on, tuple(live_keys))
    raise Unavailable from conflict


def finish(tables: Tables, identity: Identity, *, origin: Origin, now: Micros) -> tuple[str, ...]:
    """Copy the identity into all of its keys and webhooks, then delete the marker. May run again.

    Returns the ids of the webhooks that were switched on.
    """
    propagate(tables, identity, origin=origin, now=now)
    resumed = follow(tables, identity, origin=origin, now=now)
    # A newer change has its own marker, which is deleted when that change is complete.
    with contextlib.suppress(TransactionCanceled, TransactionConflict):
        transact(tables.main.client, [identity_writes.delete_marker(tables.main, identity)])
    return resumed


def sweep(tables: Tables, *, origin: Origin, now: Micros) -> int:
    """Complete changes whose function died. Returns the number of marked identities.

    An identity that fails does not stop the others; its error is raised after all were tried.
    """
    marked = identities.list_marked(tables.main, limit=_MOST_PER_SWEEP)
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


def _check_reach(
    tables: Tables, within: Reach, *, before: Identity, after: Identity, now: Micros
) -> None:
    if reach.narrows(before.reach(), after.reach()):
        return  # so that no keys are read
    rate_limit = highest_rate_limit(tables, after, now=now)
    reach.check_change(within, before.reach(rate_limit), after.reach(rate_limit))


def _widening(tables: Tables, call: Call, before: Identity, after: Identity) -> dict[str, Write]:
    """Return the writes of a change that does more than narrow what the identity may do."""
    writes = key_writes.check_caller(tables.main, call)
    if reach.beyond(before.reach(), after.reach()):
        writes |= revocation_writes.changed(tables.main, call, identity_writes.target(before))
    return writes


def _write(
    tables: Tables,
    before: Identity,
    after: Identity,
    *,
    widening: Mapping[str, Write],
    origin: Origin,
    now: Micros,
) -> None:
    writes = {
        "identity": identity_writes.replace(tables.main, after, seen=before),
        **identity_writes.recount(tables.main, before, after),
    }
    if after.rights != before.rights:
        writes["marker"] = identity_writes.put_marker(tables.main, after)
    event = Change(
        "identity.update",
        identity_writes.target(after),
        before=before.audit_view(),
        after=after.audit_view(),
    )
    narrows = reach.narrows(before.reach(), after.reach())
    if not narrows:
        writes |= widening
    commit = endings.end if narrows else audit.commit
    commit(tables.main, after.account_id, writes=writes, changes=[event], origin=origin, now=now)
