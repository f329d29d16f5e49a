"""A changed identity is copied into every key, in spite of crashes, races and repeats.

The change and its marker are one transaction; each key is updated by a write of its own. Whatever
crashes or runs in between, after the sweeper ran both items of every key agree, and each key has
a copy of its identity as it is now.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gatehouse.core.errors import (
    Conflict,
    GatehouseError,
    GrantsExceeded,
    NotFound,
    Unauthorized,
    Unavailable,
)
from gatehouse.core.grants import FULL, Grants, Permissions
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.identities import actions as identities
from gatehouse.identities.model import Identity
from gatehouse.keys import actions as keys
from gatehouse.keys import lists as key_lists
from gatehouse.keys import rotation
from gatehouse.keys.model import KeyFilter, KeyPatch
from gatehouse.memberships import actions as memberships
from gatehouse.wallets import actions as wallets
from support.actors.members import (
    NONCE_SECRET,
    SWEEPER,
    change,
    identity_of,
    identity_patch,
    invited,
    key_of,
    member,
    outside,
    redeem_invite,
    signed,
    sweep,
    unlimited_admin,
    visitor_with,
)
from support.aws.faults import Killed, Wire, die_at, error, first
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
    """An admin `boss`, an admin `target` with several keys who is changed, and a bystander."""

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


@pytest.fixture(scope="module")
def whole_cast(stack: Tables) -> Cast:
    return Cast(stack)


@pytest.fixture
def cast(whole_cast: Cast) -> Cast:
    whole_cast.restore()
    return whole_cast


def commit_only(cast: Cast, line: Wire, **fields: Any) -> Identity:
    """Write a change and its marker, and crash before any key is updated."""
    line.after = first(1, _crash, "TransactWriteItems")
    with pytest.raises(Killed):
        cast.change(**fields)
    line.clear()
    return identity_of(cast.target)


def _crash() -> None:
    raise Killed


@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
def test_the_sweeper_completes_a_change_that_crashed_at_any_call(
    cast: Cast, line: Wire, fields: dict[str, Any]
) -> None:
    """Crashes after each call. A crash before a call equals one after the call before it."""
    completed = 0
    before = identity_of(cast.target)
    for number in range(1, MOST_CALLS):
        cast.restore()
        line.clear()
        line.after = die_at(number)
        try:
            cast.change(**fields)
        except Killed:
            pass
        else:
            break
        finally:
            line.clear()
        after = identity_of(cast.target)
        assert after in {before, identities.patched(before, identity_patch(**fields))}
        check_invariants(cast.tables, now=cast.now)
        swept = sweep(cast.tables, cast.now)
        assert swept in ({0, 1} if after != before else {0})
        completed += swept
        cast.settle()
        if "status" in fields and after != before:
            assert cast.codes() == {Code.DISABLED}
    else:
        pytest.fail(f"it still makes more than {MOST_CALLS} calls")
    assert completed >= len(cast.keys), "it must crash at least once per key"
    cast.settle()


@pytest.mark.usefixtures("sleeps")
def test_repeating_a_crashed_change_completes_it(cast: Cast, line: Wire) -> None:
    for number in range(1, MOST_CALLS):
        cast.restore()
        line.clear()
        line.after = die_at(number)
        try:
            cast.change(status="suspended", ceiling=NARROW)
        except Killed:
            line.clear()
            cast.change(status="suspended", ceiling=NARROW)
            assert cast.codes() == {Code.DISABLED}
            cast.settle()
        else:
            break
        finally:
            line.clear()


Action = Callable[[Cast], Any]


def _suspend(cast: Cast) -> None:
    cast.change(status="suspended")


def _cut(cast: Cast) -> None:
    cast.change(ceiling=Grants(("services:read",), Permissions(ring_scopes=("a",))))


def _widen(cast: Cast) -> None:
    cast.change(ceiling=FULL)


def _rename(cast: Cast) -> None:
    cast.change(name="renamed")


def _mint(cast: Cast) -> None:
    cast.keys.append(key_of(cast.admin, cast.target, scopes=["services:read"]))


def _mint_everything(cast: Cast) -> None:
    cast.keys.append(key_of(cast.admin, cast.target))


def _rotate(cast: Cast) -> None:
    old = cast.keys[1].key.id
    cast.keys[1] = rotation.rotate(
        cast.tables, cast.admin.call(), old, grace_seconds=60, prefix="hk"
    )


def _patch(cast: Cast) -> None:
    keys.patch(cast.tables, cast.admin.call(), cast.keys[1].key.id, KeyPatch(name="patched"))


def _revoke(cast: Cast) -> None:
    keys.revoke(cast.tables, cast.admin.call(), cast.keys[1].key.id)


def _sign_in(cast: Cast) -> None:
    again = signed(cast.now, cast.wallet.address)
    call = outside(cast.now)
    cast.keys.append(wallets.sign_in(cast.tables, call, again, secret=NONCE_SECRET).minted)


ACTIONS: list[Action] = [
    _suspend,
    _cut,
    _widen,
    _rename,
    _mint,
    _mint_everything,
    _rotate,
    _patch,
    _revoke,
    _sign_in,
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda act: act.__name__.strip("_"))
@pytest.mark.parametrize("fields", ["suspended", "ceiling cut"])
@pytest.mark.usefixtures("sleeps")
def test_keys_end_up_right_whatever_happens_between_two_calls(
    cast: Cast, line: Wire, fields: str, action: Action
) -> None:
    refused: set[type[GatehouseError]] = set()
    for number in range(1, MOST_CALLS):
        cast.restore()
        happened = _at_call(line, number, partial(action, cast), refused)
        # If a key changed meanwhile, the answer is 503 and the sweeper completes the change.
        with contextlib.suppress(Unavailable):
            cast.change(**CHANGES[fields])
        line.clear()
        cast.settle()
        if not happened:
            break
    else:
        pytest.fail(f"it still makes more than {MOST_CALLS} calls")
    assert number > len(cast.keys)
    assert refused <= {Conflict, GrantsExceeded, Unauthorized, NotFound}


@pytest.mark.parametrize("first_in", ["the older inside the newer", "the newer inside the older"])
def test_an_older_version_never_overwrites_a_newer_one(
    cast: Cast, line: Wire, first_in: str
) -> None:
    """Two changes are written but not yet copied; then both are, one in the middle of the other."""
    older = commit_only(cast, line, ceiling=NARROW, claw_type="service")
    newer = commit_only(cast, line, ceiling=FULL, claw_type="employee", status="suspended")
    outer, inner = (newer, older) if first_in.startswith("the older") else (older, newer)
    both_written = Rewind(cast.tables)

    def finish(identity: Identity) -> None:
        memberships.finish(cast.tables, identity, origin=SWEEPER, now=cast.now)

    for number in range(1, MOST_CALLS):
        both_written.back()
        happened = _at_call(line, number, partial(finish, inner), set())
        with contextlib.suppress(Unavailable):
            finish(outer)
        line.clear()
        if not happened:
            break
        check_invariants(cast.tables, now=cast.now)
        assert cast.codes() == {Code.DISABLED}
        cast.settle()
    assert number > len(cast.keys)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
def test_the_newer_of_two_changes_wins_whichever_reaches_keys_last(
    cast: Cast, line: Wire, order: tuple[int, int]
) -> None:
    written = [
        commit_only(cast, line, status="suspended"),
        commit_only(cast, line, status="active", is_admin=False),
    ]
    for at in order:
        memberships.finish(cast.tables, written[at], origin=SWEEPER, now=cast.now)
    assert cast.codes() == {Code.VALID}
    cast.settle()


def test_an_older_change_does_not_delete_a_newer_changes_marker(cast: Cast, line: Wire) -> None:
    older = commit_only(cast, line, status="suspended")
    commit_only(cast, line, status="active", is_admin=False)
    memberships.finish(cast.tables, older, origin=SWEEPER, now=cast.now)
    assert sweep(cast.tables, cast.now) == 1
    cast.settle()


def test_a_key_created_before_propagation_gets_the_change_too(cast: Cast, line: Wire) -> None:
    identity = commit_only(cast, line, ceiling=NARROW)
    with pytest.raises(GrantsExceeded):
        key_of(cast.admin, cast.target)
    cast.keys.append(key_of(cast.admin, cast.target, scopes=["agents:read"], **_tasks()))
    change(cast.admin, cast.target, status="suspended")
    assert identity_of(cast.target).version > identity.version
    assert cast.codes() == {Code.DISABLED}
    cast.settle()


def _tasks() -> dict[str, Any]:
    return {"permissions": {"signal_types": ["task"]}}


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_creating_a_key_fails_if_its_owner_is_suspended_meanwhile(
    cast: Cast, line: Wire, status: str
) -> None:
    before = len(key_lists.page(cast.tables, cast.admin.call(), KeyFilter.ALL, limit=100)[0])
    line.before = _once("TransactWriteItems", lambda: cast.change(status=status), line)
    with pytest.raises(Conflict, match="not an active member"):
        key_of(cast.admin, cast.target)
    after = len(key_lists.page(cast.tables, cast.admin.call(), KeyFilter.ALL, limit=100)[0])
    assert after == before
    cast.settle()


def test_rotating_during_a_ceiling_cut_stays_within_the_new_ceiling(cast: Cast, line: Wire) -> None:
    line.before = _once("TransactWriteItems", lambda: commit_only(cast, line, ceiling=NARROW), line)
    with pytest.raises(GrantsExceeded):
        rotation.rotate(
            cast.tables, cast.admin.call(), cast.keys[0].key.id, grace_seconds=0, prefix="hk"
        )
    cast.settle()


@pytest.mark.usefixtures("sleeps")
def test_a_key_that_is_busy_is_updated_on_a_retry(cast: Cast, line: Wire) -> None:
    line.before = first(3, lambda: error("TransactionConflictException"), "UpdateItem")
    cast.change(status="suspended")
    line.clear()
    assert cast.codes() == {Code.DISABLED}
    cast.settle()


@pytest.mark.usefixtures("sleeps")
def test_a_key_that_stays_busy_is_503_and_left_to_the_sweeper(cast: Cast, line: Wire) -> None:
    line.before = first(1_000, lambda: error("TransactionConflictException"), "UpdateItem")
    with pytest.raises(Unavailable):
        cast.change(status="suspended")
    line.clear()
    assert sweep(cast.tables, cast.now) == 1
    assert cast.codes() == {Code.DISABLED}
    cast.settle()


def test_an_identity_that_fails_does_not_stop_the_others(cast: Cast, line: Wire) -> None:
    commit_only(cast, line, status="suspended")
    line.after = first(1, _crash, "TransactWriteItems")
    with pytest.raises(Killed):
        change(cast.admin, cast.bystander, status="suspended")
    line.clear()
    line.before = _second_query()
    with pytest.raises(Unavailable):
        sweep(cast.tables, cast.now)
    line.clear()
    verdicts = [cast.admin.admit(one.minted.secret).code for one in (cast.target, cast.bystander)]
    assert Code.DISABLED in verdicts
    assert sweep(cast.tables, cast.now) == 1


def _second_query() -> Callable[[int, str], Any]:
    """Return a plan in which the second query fails: that of the first identity's keys."""
    queries = 0

    def plan(_: int, operation: str) -> Any:
        nonlocal queries
        queries += operation == "Query"
        return error("ThrottlingException") if queries == 2 and operation == "Query" else None

    return plan


def _once(operation: str, act: Callable[[], Any], line: Wire) -> Callable[[int, str], Any]:
    def plan(_: int, called: str) -> None:
        if called == operation:
            line.before = None
            act()

    return plan


def _at_call(
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
