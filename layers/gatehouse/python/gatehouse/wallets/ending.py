"""Ends keys of signing in, and detaches the wallets that keys attached. Imports no cipher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.clock import Micros
from gatehouse.core.maker import Makers, select
from gatehouse.core.request import Call
from gatehouse.dynamo.table import Tables, Write
from gatehouse.identities import actions as identities
from gatehouse.identities import writes as identity_writes
from gatehouse.identities.model import Identity
from gatehouse.keys import actions as keys
from gatehouse.keys import writes as key_writes
from gatehouse.keys.model import Key, KeyStatus
from gatehouse.wallets import store
from gatehouse.wallets.model import Wallet

# At most two keys of a line of rotations live: the newest, and in its grace the one before.
_MOST_OF_A_LINE = 2


@dataclass(frozen=True, slots=True)
class EndedKeys:
    """The end of sign-in keys: audit events, writes, and what the counter of live keys loses."""

    changes: Sequence[Change] = ()
    writes: dict[str, Write] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


NOTHING_ENDED = EndedKeys()


def end_previous(tables: Tables, wallet: Wallet, now: Micros) -> EndedKeys:
    """Return what revokes the keys of the last sign-in.

    They are the key of the wallet, which follows each rotation, and in the grace of a rotation the
    one before it. An expired key is revoked too: somebody could extend it.
    """
    found: list[Key] = []
    key_id = wallet.sign_in_key
    while key_id is not None and len(found) < _MOST_OF_A_LINE:
        key = keys.find(tables, wallet.account_id, key_id)
        if key is None:
            break
        found.append(key)
        key_id = key.predecessor
    ending = [key for key in found if keys.status(key, now) is not KeyStatus.REVOKED]
    planned = [key_writes.revocation(tables, key, now=now, together=ending) for key in ending]
    counts: Counter[str] = Counter()
    for key in ending:
        counts.update(key_writes.counted(key, now))
    return EndedKeys(
        [change for change, _ in planned],
        {
            f"{name}_{number}": write
            for number, (_, writes) in enumerate(planned)
            for name, write in writes.items()
        },
        counts,
    )


def list_made(tables: Tables, call: Call, by: Makers) -> list[Wallet]:
    """List the wallets that some keys attached, also by an invite, of whom the caller may manage.

    An admin may manage every identity, others only their own.
    """
    caller = call.caller
    if caller.is_admin:
        members = identities.list_all(tables.main, caller.account_id)
    else:
        members = [identities.get(tables.main, caller.account_id, caller.identity_id)]
    addresses = [one.wallet_address for one in members if one.wallet_address is not None]
    return select(store.read_all(tables.main, addresses), by)


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
    tables: Tables,
    call: Call,
    wallet: Wallet,
    before: Identity,
    *,
    ended: EndedKeys = NOTHING_ENDED,
) -> Identity:
    """Detach a wallet from its identity, and end keys with it. Returns the identity afterwards.

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
            **ended.writes,
        },
        changes=[detaching, *ended.changes],
        counts=ended.counts,
        origin=Origin.of(call),
        now=call.now,
    )
    return after
