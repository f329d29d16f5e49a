"""The write of a wallet that other rooms put in their own transactions."""

from __future__ import annotations

from collections.abc import Collection

from gatehouse.dynamo.table import Table, Write
from gatehouse.wallets import store


def follow_rotation(table: Table, address: str, *, line: Collection[str], to: str) -> Write:
    """Make a rotation's new key the sign-in key of a wallet, so that the next sign-in ends it.

    `line` are the ids of the rotated key and its neighbours. The condition fails if the wallet was
    detached, or somebody signed in, since they were read.
    """
    return store.follow_rotation(table, address, line=line, to=to)
