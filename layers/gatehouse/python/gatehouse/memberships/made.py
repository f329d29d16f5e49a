"""Pauses what an identity made while it could not make it, and resumes it afterwards.

That is while it is not an active admin, or has a ceiling that allows less than the thing may do.
Its invites and peers are refused as long as that is so, since each redemption and each signal reads
the identity. Its webhooks are switched off and on here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gatehouse.audit.model import Origin
from gatehouse.core.clock import Micros
from gatehouse.core.maker import MadeBy
from gatehouse.core.reach import Reach
from gatehouse.deliveries.writes import unpark_marker
from gatehouse.dynamo.table import Tables
from gatehouse.federation import removal as peers
from gatehouse.identities.model import Identity
from gatehouse.invites import ending as invites
from gatehouse.webhooks import creators as webhooks


@dataclass(frozen=True, slots=True)
class Made:
    """The ids, with their kind, of what waits or goes on with an identity."""

    webhooks: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    invites: tuple[str, ...] = ()


NOTHING = Made()


def follow(tables: Tables, identity: Identity, *, origin: Origin, now: Micros) -> tuple[str, ...]:
    """Switch the webhooks that an identity made off or on, as its state is now.

    Parked deliveries of those that go on are sent by the next sweep. Returns their ids. May run
    again.
    """
    main, account_id = tables.main, identity.account_id
    unpark = partial(unpark_marker, main, account_id, now=now)
    changed = webhooks.follow(main, account_id, identity.id, unpark=unpark, origin=origin, now=now)
    return tuple(changed)


def compare(
    tables: Tables, before: Identity, after: Identity, *, resumed: tuple[str, ...], now: Micros
) -> tuple[Made | None, Made | None]:
    """List what waits for an identity since its change, and what goes on; None for nothing.

    `resumed` are the webhooks that go on. If the identity became an active admin, or no longer is
    one, the answer lists also nothing.
    """
    if before.rights == after.rights or not (before.is_acting_admin or after.is_acting_admin):
        return None, None
    main, account_id, by = tables.main, after.account_id, MadeBy(after.id)

    def made(webhook_ids: Sequence[str], *, where: Callable[[Reach], bool]) -> Made:
        return Made(
            tuple(webhook_ids),
            tuple(peers.list_made(main, account_id, by, where=where)),
            tuple(invites.list_made(main, account_id, by, where=where, now=now)),
        )

    waiting = made(
        webhooks.list_waiting(main, account_id, by),
        where=lambda thing: not before.absence_for(thing) and bool(after.absence_for(thing)),
    )
    going_on = made(
        resumed,
        where=lambda thing: bool(before.absence_for(thing)) and not after.absence_for(thing),
    )
    return (
        waiting if waiting != NOTHING or before.is_acting_admin > after.is_acting_admin else None,
        going_on if going_on != NOTHING or after.is_acting_admin > before.is_acting_admin else None,
    )
