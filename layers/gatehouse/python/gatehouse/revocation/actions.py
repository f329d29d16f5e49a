"""Revoke a key, alone or with everything that it and its descendants made."""

from __future__ import annotations

from dataclasses import dataclass

from gatehouse.audit.model import Origin
from gatehouse.core.errors import Unavailable
from gatehouse.core.maker import MadeBy
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Table, Tables
from gatehouse.federation import removal as peers
from gatehouse.identities import actions as identities
from gatehouse.identities.model import Membership
from gatehouse.invites import ending as invites
from gatehouse.keys import actions as keys
from gatehouse.keys import descendants as families
from gatehouse.keys.model import Key
from gatehouse.wallets import ending as wallets
from gatehouse.wallets.model import Wallet
from gatehouse.webhooks import creators as webhooks

# How often the descendants are read: each time but the last, invites or wallets have added some.
_MOST_WALKS = 100


@dataclass(frozen=True, slots=True)
class Revoked:
    """A revoked key, the ids with their kind of what ended with it, and how many keys live on.

    `live_identities` are the members whom its family let in by invites, and who are still active.
    """

    key: Key
    ended: tuple[str, ...] = ()
    live_descendants: int = 0
    live_identities: tuple[str, ...] = ()

    def headers(self) -> dict[str, str]:
        """Return what an answer without a body says about descendants, as headers."""
        counts = {
            "X-Ended-Descendants": len(self.ended),
            "X-Live-Descendants": self.live_descendants,
            "X-Live-Identities": len(self.live_identities),
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
    ending = _Ending(tables, call, key_id)
    ending.end_everything()
    if ending.was_revoked and not ending.ended:
        raise keys.not_found()
    return Revoked(
        ending.root,
        tuple(ending.ended),
        live_identities=tuple(
            f"identity:{member}"
            for member in sorted(ending.members)
            if identities.get(tables.main, ending.root.account_id, member).membership
            is Membership.ACTIVE
        ),
    )


class _Ending:
    """Ends a key, its descendants, and what they made; `ended` has the ids of what ended now.

    Invites and wallets add to the descendants. Somebody may redeem an invite after the children of
    its key were read and before it ends, so the descendants are read again then. A wallet has a
    family of its own: the keys of signing in with it, and what these made. Wallets are detached
    last, and those that were found first at the very end: a repeat after a crash finds all others
    by them.
    """

    def __init__(self, tables: Tables, call: Call, key_id: str) -> None:
        self.tables, self.call, self.key_id = tables, call, key_id
        self.ended: list[str] = []
        self.key_ids: set[str] = set()
        self.members: set[str] = set()
        self._sign_ins: list[str] = []
        self._wallets: dict[str, Wallet] = {}

    def end_everything(self) -> None:
        """End everything, or raise NotFound, or Unavailable if something is left."""
        for _ in range(_MOST_WALKS):
            grown = self._end_keys()
            redeemed = self._end_invites()
            if self._find_sign_ins() or (grown and redeemed):
                continue
            for end_made in (webhooks.end_made, peers.end_made):
                self.ended += end_made(*self._made, origin=Origin.of(self.call), now=self.call.now)
            if self._detach_wallets():
                return
        raise Unavailable

    @property
    def _made(self) -> tuple[Table, str, MadeBy]:
        by = MadeBy(key_ids=frozenset(self.key_ids))
        return self.tables.main, self.call.caller.account_id, by

    def _end_keys(self) -> bool:
        before = len(self.key_ids)
        for key_id in (self.key_id, *self._sign_ins):
            family = families.revoke_all(self.tables, self.call, key_id)
            if key_id == self.key_id and not before:
                self.root, self.was_revoked = family.root, family.was_revoked
            if key_id != self.key_id and not family.was_revoked:
                self.ended.append(f"api_key:{key_id}")
            self.ended += [f"api_key:{key.id}" for key in family.ended]
            self.key_ids |= family.key_ids
            self.members |= family.members
        return len(self.key_ids) > before

    def _end_invites(self) -> bool:
        """End the invites; True if one of them was ever redeemed."""
        self.ended += invites.end_made(*self._made, origin=Origin.of(self.call), now=self.call.now)
        return invites.were_redeemed(*self._made)

    def _find_sign_ins(self) -> bool:
        """Find the keys of signing in with wallets; True if there are more than before."""
        *_, by = self._made
        bound = {one.address: one for one in wallets.list_made(self.tables, self.call, by)}
        in_order = (*self._wallets, *bound)
        self._wallets = {address: bound[address] for address in in_order if address in bound}
        found = [
            key_id
            for wallet in self._wallets.values()
            for key_id in keys.list_signed_in(
                self.tables, wallet.account_id, wallet.identity_id, wallet=wallet.address
            )
            if key_id not in self.key_ids
        ]
        self._sign_ins += found
        return bool(found)

    def _detach_wallets(self) -> bool:
        """Detach the wallets, the last one first; False if somebody signed in meanwhile."""
        for address, wallet in reversed(list(self._wallets.items())):
            if not wallets.detach(self.tables, self.call, wallet):
                return False
            del self._wallets[address]
            self.ended.append(f"wallet:{address}")
        return True
