"""Ends keys of signing in, and detaches the wallets that keys attached. Imports no cipher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.maker import MadeBy
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import Identity
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import KeyStatus
from gatehouse.wallets import store
from gatehouse.wallets.model import Wallet


@dataclass(frozen=True, slots=True)
class EndedKey:
    """The end of a sign-in key: its audit event, its writes, and what its counter loses."""

    change: Change
    writes: Mapping[str, Write]
    counts: Mapping[str, int]


def end_previous(tables: Tables, wallet: Wallet, now: Micros) -> EndedKey | None:
    """Return what revokes the key of the last sign-in, None if it does not live."""
    if wallet.sign_in_key is None:
        return None
    previous = keys.find(tables, wallet.account_id, wallet.sign_in_key)
    live = {KeyStatus.ACTIVE, KeyStatus.DISABLED}
    if previous is None or keys.status(previous, now) not in live:
        return None
    change, writes = key_writes.revocation(tables, previous, now=now)
    return EndedKey(change, writes, key_writes.counted(previous, now))


def list_made(tables: Tables, call: Call, by: MadeBy) -> list[Wallet]:
    """List the wallets that some keys attached, also by an invite, of whom the caller may manage.

    An admin may manage every identity, others only their own.
    """
    caller = call.caller
    if caller.is_admin:
        members = identities.list_all(tables.main, caller.account_id)
    else:
        members = [identities.get(tables.main, caller.account_id, caller.identity_id)]
    addresses = [one.wallet_address for one in members if one.wallet_address is not None]
    return [one for one in store.read_all(tables.main, addresses) if by.includes(one.maker)]


def detach(tables: Tables, call: Call, wallet: Wallet) -> bool:
    """Detach a wallet. False, and nothing is done, if somebody signed in or it changed meanwhile.

    The keys of signing in are the caller's to revoke before.
    """
    before = identities.get(tables.main, wallet.account_id, wallet.identity_id)
    if before.wallet_address != wallet.address:
        return False
    try:
        unbind(tables, call, wallet, before)
    except audit.Refused:
        return False
    return True


def unbind(
    tables: Tables, call: Call, wallet: Wallet, before: Identity, *, ended: EndedKey | None = None
) -> Identity:
    """Detach a wallet from its identity, and end a key with it. Returns the identity afterwards.

    Raises Refused if one of them changed meanwhile.
    """
    after = replace(before, wallet_address=None, version=before.version + 1)
    detaching = Change(
        "identity.detach_wallet",
        identity_writes.target(after),
        before=before.audit_view(),
        after=after.audit_view(),
    )
    endings.end(
        tables.main,
        wallet.account_id,
        writes={
            "identity": identity_writes.replace(tables.main, after, seen=before),
            "wallet": store.unbind(tables.main, wallet),
            **(ended.writes if ended else {}),
        },
        changes=[detaching, *([ended.change] if ended else [])],
        counts=ended.counts if ended else endings.NO_COUNTS,
        origin=Origin.of(call),
        now=call.now,
    )
    return after
