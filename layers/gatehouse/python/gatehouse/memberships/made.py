"""Pauses what an identity made while it is not an active admin, and resumes it afterwards.

Its invites and peers are refused as long as that is so, since each redemption and each signal reads
the identity. Its webhooks are switched off and on here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from gatehouse.audit.model import Origin
from gatehouse.core.clock import Micros
from gatehouse.core.maker import MadeBy
from gatehouse.deliveries.writes import unpark_marker
from gatehouse.dynamo.table import Tables
from gatehouse.federation import removal as peers
from gatehouse.identities.model import Identity
from gatehouse.invites import ending as invites
from gatehouse.webhooks import creators as webhooks


@dataclass(frozen=True, slots=True)
class Made:
    """The ids, with their kind, of what waits or goes on with an identity."""

    webhooks: tuple[str, ...]
    peers: tuple[str, ...]
    invites: tuple[str, ...]


def follow(tables: Tables, identity: Identity, *, origin: Origin, now: Micros) -> tuple[str, ...]:
    """Switch the webhooks that an identity made off or on, as its state is now.

    Parked deliveries of those that go on are sent by the next sweep. Returns what changed. May run
    again.
    """
    main, account_id = tables.main, identity.account_id
    unpark = partial(unpark_marker, main, account_id, now=now)
    changed = webhooks.follow(main, account_id, identity.id, unpark=unpark, origin=origin, now=now)
    return tuple(changed)


def list_made(tables: Tables, identity: Identity, *, resumed: tuple[str, ...], now: Micros) -> Made:
    """List what waits for an identity that is not an active admin, or what went on with it.

    `resumed` are the webhooks that went on.
    """
    main, account_id, by = tables.main, identity.account_id, MadeBy(identity.id)
    waiting = webhooks.list_waiting(main, account_id, by)
    return Made(
        resumed if identity.is_acting_admin else tuple(waiting),
        tuple(peers.list_made(main, account_id, by)),
        tuple(invites.list_made(main, account_id, by, now=now)),
    )
