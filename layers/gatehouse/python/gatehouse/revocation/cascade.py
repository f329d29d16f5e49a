"""Ends the descendants of a key and what they made."""

from __future__ import annotations

import time

from gatehouse.audit.model import Origin
from gatehouse.core.maker import select
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables
from gatehouse.federation import removal as peers
from gatehouse.identities import actions as identities
from gatehouse.identities.model import Membership
from gatehouse.invites import ending as invites
from gatehouse.keys import actions as keys
from gatehouse.keys import descendants as families
from gatehouse.keys.model import Key, KeyStatus
from gatehouse.revocation import store
from gatehouse.services import removal as services
from gatehouse.wallets import ending as wallets
from gatehouse.wallets.model import Wallet
from gatehouse.webhooks import creators as webhooks


class Descent:
    """Ends the descendants of a key, and what it and they made; `ended` has the ids.

    The key is revoked already. Invites and wallets add to its family. Somebody may redeem an invite
    after the keys were read and before it ends, so the keys are read again then. The keys of
    signing in with a wallet, and what these made, belong to the family too. Wallets are detached
    last, and those that were found first at the very end: a repeat after a crash finds all others
    by them.
    """

    def __init__(self, tables: Tables, call: Call, root: Key, *, until: float) -> None:
        self.tables, self.call, self.root, self.until = tables, call, root, until
        self.family = families.family_of(tables, call, root)
        self.ended: list[str] = []
        self._wallets: dict[str, Wallet] = {}

    def end_everything(self) -> None:
        """End everything. Raises OutOfTime or Unavailable if something is left."""
        families.end_graces(self.tables.main, self.call, [self.root])
        table, account_id, by = self.tables.main, self.root.account_id, self.family
        origin, now = Origin.of(self.call), self.call.now
        grown = True
        while True:
            grown = self._end_keys() or grown
            self._check_time()
            self.ended += invites.end_made(table, account_id, by, origin=origin, now=now)
            redeemed = invites.were_redeemed(table, account_id, by)
            if self._end_sign_ins() or (grown and redeemed):
                grown = False
                continue
            for end_made in (webhooks.end_made, peers.end_made, services.end_made):
                self._check_time()
                self.ended += end_made(table, account_id, by, origin=origin, now=now)
            self._check_time()
            if self._detach_wallets():
                return

    def list_live_members(self) -> tuple[str, ...]:
        """List the active members whom the family let in, `identity:<id>`."""
        found = identities.list_made(self.tables.main, self.root.account_id, self.family)
        return tuple(
            f"identity:{member.id}" for member in found if member.membership is Membership.ACTIVE
        )

    def list_changed(self) -> tuple[str, ...]:
        """List what the family raised, revived or redirected, and that is still there."""
        table, account_id = self.tables.main, self.root.account_id
        found = select(store.list_changed(table, account_id), self.family)
        targets = {one.target for one in found} - set(self.ended)
        return tuple(sorted(one for one in targets if self._is_there(one)))

    def _is_there(self, target: str) -> bool:
        kind, _, bare = target.partition(":")
        table, account_id = self.tables.main, self.root.account_id
        if kind == "api_key":
            key = keys.find(self.tables, account_id, bare)
            return key is not None and keys.status(key, self.call.now) is not KeyStatus.REVOKED
        if kind == "webhook":
            return webhooks.find(table, account_id, bare) is not None
        return True  # items of identities are not deleted

    def _end_keys(self) -> bool:
        """End the descendants; True if there were some."""
        before = len(self.ended)
        for key in families.end_all(
            self.tables, self.call, self.root, self.family, until=self.until
        ):
            self.ended.append(f"api_key:{key.id}")
        return len(self.ended) > before

    def _end_sign_ins(self) -> bool:
        """Find and end the keys of signing in with wallets; True if there are more than before."""
        made = wallets.list_made(self.tables, self.call, self.family)
        bound = {one.address: one for one in made}
        in_order = (*self._wallets, *bound)
        self._wallets = {address: bound[address] for address in in_order if address in bound}
        found = [
            key
            for wallet in self._wallets.values()
            for key in keys.list_signed_in(
                self.tables, wallet.account_id, wallet.identity_id, wallet=wallet.address
            )
            if not self.family.has_root(key.id)
        ]
        for key in found:
            self.family.add_root(key)
        families.end_graces(self.tables.main, self.call, found)
        for key in families.end(self.tables, self.call, self.root, found, until=self.until):
            self.ended.append(f"api_key:{key.id}")
        return bool(found)

    def _detach_wallets(self) -> bool:
        """Detach the wallets, the last one first; False if somebody signed in meanwhile."""
        for address, wallet in reversed(list(self._wallets.items())):
            if not wallets.detach(self.tables, self.call, wallet):
                return False
            del self._wallets[address]
            self.ended.append(f"wallet:{address}")
        return True

    def _check_time(self) -> None:
        if time.monotonic() > self.until:
            raise families.OutOfTime
