"""Revoke a key, alone or with everything that it and its descendants made."""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.audit.model import Origin
from gatehouse.core.errors import Unavailable
from gatehouse.core.maker import MadeBy
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables
from gatehouse.federation import removal as peers
from gatehouse.invites import ending as invites
from gatehouse.keys import actions as keys
from gatehouse.keys import descendants as families
from gatehouse.keys.model import Key
from gatehouse.webhooks import creators as webhooks

# How often the descendants of one key are read: each time but the last, an invite has added some.
_MOST_WALKS = 8


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revoked key, the ids with their kind of what ended with it, and how many keys live on."""

    key: Key
    ended: tuple[str, ...] = ()
    live_descendants: int = 0

    def headers(self) -> dict[str, str]:
        """Return what an answer without a body says about descendants, as headers."""
        counts = {
            "X-Ended-Descendants": len(self.ended),
            "X-Live-Descendants": self.live_descendants,
        }
        return {name: str(count) for name, count in counts.items() if count}


def revoke(tables: Tables, call: Call, key_id: str, *, descendants: bool) -> Revoked:
    """Revoke a key, with or without its descendants and what they made.

    With them the key may be revoked already. Raises NotFound if nothing is left to end, or
    Unavailable if something is left: a repeat ends it.
    """
    if not descendants:
        key = keys.revoke(tables, call, key_id)
        return Revoked(key, live_descendants=families.count_live(tables, call, key_id))
    family = _end_family(tables, call, key_id)
    ended = list(family.ended)
    for end_made in (webhooks.end_made, peers.end_made):
        ended += end_made(
            tables.main,
            family.root.account_id,
            MadeBy(key_ids=family.key_ids),
            origin=Origin.of(call),
            now=call.now,
        )
    if family.was_revoked and not ended:
        raise keys.not_found()
    return Revoked(family.root, tuple(ended))


@dataclass(frozen=True, slots=True)
class _Ended:
    """A key, the ids of its family, and the ids with their kind of what ended now."""

    root: Key
    was_revoked: bool
    key_ids: frozenset[str]
    ended: tuple[str, ...]


def _end_family(tables: Tables, call: Call, key_id: str) -> _Ended:
    """End a key, its descendants, and the invites that could add to them.

    Somebody may redeem an invite after the children of its key were read and before it ends. So
    the descendants are read again afterwards, until there are no more than before.
    """
    ended: list[str] = []
    known: frozenset[str] = frozenset()
    was_revoked: bool | None = None
    for _ in range(_MOST_WALKS):
        family = families.revoke_all(tables, call, key_id)
        if was_revoked is None:
            was_revoked = family.was_revoked
        ended += [f"api_key:{key.id}" for key in family.ended]
        by, account_id = MadeBy(key_ids=family.key_ids), family.root.account_id
        ended += invites.end_made(tables.main, account_id, by, origin=Origin.of(call), now=call.now)
        grown, known = family.key_ids != known, family.key_ids
        if not grown or not invites.were_redeemed(tables.main, account_id, by):
            return _Ended(family.root, was_revoked, known, tuple(ended))
    raise Unavailable
