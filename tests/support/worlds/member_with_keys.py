"""A member with keys in each state, whose identity a test changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.core.errors import (
    GatehouseError,
)
from gatehouse.core.grants import Grants, Permissions
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import Identity
from gatehouse.keys import actions as keys
from support.actors.members import (
    change,
    identity_of,
    invited,
    key_of,
    member,
    redeem_invite,
    signed,
    sweep,
    unlimited_admin,
    visitor_with,
)
from support.aws.faults import Killed, Wire, first
from support.aws.snapshot import Rewind
from support.checks.invariants import check_invariants, check_owners_of_keys

MOST_CALLS = 60
NARROW = Grants(("services:*", "agents:read"), Permissions(signal_types=("task", "alert")))
CHANGES: dict[str, dict[str, Any]] = {
    "suspended": {"status": "suspended"},
    "removed": {"status": "removed"},
    "demoted": {"is_admin": False},
    "made a service": {"claw_type": "service"},
    "ceiling cut": {"ceiling": NARROW},
    "ceiling cut and suspended": {"ceiling": NARROW, "status": "suspended"},
}


class Cast:
    """An admin, a second admin `target` with several keys who is changed, and a bystander."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.admin = unlimited_admin(tables)
        self.now = self.admin.now
        self.wallet = signed(self.now)
        came = redeem_invite(tables, invited(self.admin), now=self.now, signed=self.wallet)
        self.target = visitor_with(tables, came.minted, self.now)
        change(self.admin, self.target, is_admin=True)
        self.keys = [
            came.minted,
            key_of(self.admin, self.target, scopes=["services:read"]),
            key_of(self.admin, self.target, permissions={"signal_types": ["pulse"]}),
        ]
        revoked = key_of(self.admin, self.target)
        keys.revoke(tables, self.admin.call(), revoked.key.id)
        self.bystander = member(self.admin)
        self._start, self._first_keys = Rewind(tables), tuple(self.keys)

    def restore(self) -> None:
        """Restore the tables to what they were after `__init__`."""
        self._start.back()
        self.keys = list(self._first_keys)

    def change(self, **fields: Any) -> None:
        change(self.admin, self.target, **fields)

    def codes(self) -> set[Code]:
        return {self.admin.admit(minted.secret).code for minted in self.keys}

    def settle(self) -> None:
        """Run the sweeper, check everything, and check that nothing is left to sweep."""
        sweep(self.tables, self.now)
        state = check_invariants(self.tables, now=self.now)
        check_owners_of_keys(state, now=self.now)
        assert sweep(self.tables, self.now) == 0


def commit_only(cast: Cast, line: Wire, **fields: Any) -> Identity:
    """Write a change and its marker, and crash before any key is updated."""
    line.after = first(1, _crash, "TransactWriteItems")
    with pytest.raises(Killed):
        cast.change(**fields)
    line.clear()
    return identity_of(cast.target)


def _crash() -> None:
    raise Killed


def once(operation: str, act: Callable[[], Any], line: Wire) -> Callable[[int, str], Any]:
    """Return a plan that runs `act` before the next call of the operation."""

    def plan(_: int, called: str) -> None:
        if called == operation:
            line.before = None
            act()

    return plan


def at_call(
    line: Wire, number: int, action: Callable[[], Any], refused: set[type[GatehouseError]]
) -> list[int]:
    """Run `action` before call `number`. The returned list is empty until that has happened."""
    happened: list[int] = []

    def plan(call: int, _: str) -> None:
        if call == number:
            line.before = None
            happened.append(call)
            try:
                action()
            except GatehouseError as error:
                refused.add(type(error))

    line.clear()
    line.before = plan
    return happened
