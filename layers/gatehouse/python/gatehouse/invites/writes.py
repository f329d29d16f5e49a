"""Writes of invites that other rooms put into their own transactions."""

from __future__ import annotations

from gatehouse.dynamo.table import Table, Write
from gatehouse.invites import store
from gatehouse.invites.model import Invite


def create(table: Table, invite: Invite) -> dict[str, Write]:
    """Return the writes of a new invite: `invite`, `code` and `count`.

    `code` fails where the code exists already, `count` where the account has too many open.
    """
    return store.create(table, invite)
