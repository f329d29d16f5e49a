"""Removes peers: one, or what identities and keys made. Imports no cipher."""

from __future__ import annotations

from collections.abc import Callable

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.maker import Makers, select
from gatehouse.core.reach import Reach
from gatehouse.dynamo.table import Table
from gatehouse.federation import rules, store
from gatehouse.federation.model import Peer
from gatehouse.secrets import writes as secret_writes
from gatehouse.secrets.model import Place, Purpose


def remove(table: Table, peer: Peer, *, origin: Origin, now: Micros) -> bool:
    """Remove a peer and its secret; False if it was removed already."""
    writes = store.remove(table, peer)
    writes["secret"] = secret_writes.remove(table, place(peer))
    try:
        endings.end(
            table,
            peer.account_id,
            writes=writes,
            changes=[Change("peer.remove", f"peer:{peer.id}", before=rules.audit_view(peer))],
            counts={store.counter(peer.account_id): 1},
            origin=origin,
            now=now,
        )
    except audit.Refused:
        return False
    return True


def list_made(
    table: Table, account_id: str, by: Makers, *, where: Callable[[Reach], bool]
) -> list[str]:
    """List the ids, `peer:<id>`, of the peers of such a reach that an identity or keys trusted."""
    made = _made(table, account_id, by)
    return [f"peer:{peer.id}" for peer in made if where(rules.reach_of(peer))]


def end_made(
    table: Table, account_id: str, by: Makers, *, origin: Origin, now: Micros
) -> list[str]:
    """Remove the peers that an identity or some keys trusted; return their ids. May run again."""
    return [
        f"peer:{peer.id}"
        for peer in _made(table, account_id, by)
        if remove(table, peer, origin=origin, now=now)
    ]


def place(peer: Peer) -> Place:
    """Return where the secret shared with a peer is stored."""
    return Place(Purpose.PEER, peer.account_id, peer.id)


def _made(table: Table, account_id: str, by: Makers) -> list[Peer]:
    return select(store.list_peers(table, account_id), by)
