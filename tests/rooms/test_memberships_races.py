"""What happens to keys between two calls of a change of their identity."""

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
    key_of,
    outside,
    signed,
    sweep,
)
from support.aws.faults import Wire
from support.aws.snapshot import Rewind
from support.checks.invariants import check_invariants
from support.worlds.member_with_keys import (
    CHANGES,
    MOST_CALLS,
    NARROW,
    Cast,
    at_call,
    commit_only,
    once,
)


@pytest.fixture(scope="module")
def whole_cast(stack: Tables) -> Cast:
    return Cast(stack)


@pytest.fixture
def cast(whole_cast: Cast) -> Cast:
    whole_cast.restore()
    return whole_cast


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
        happened = at_call(line, number, partial(action, cast), refused)
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
        happened = at_call(line, number, partial(finish, inner), set())
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
    line.before = once("TransactWriteItems", lambda: cast.change(status=status), line)
    with pytest.raises(Conflict, match="not an active member"):
        key_of(cast.admin, cast.target)
    after = len(key_lists.page(cast.tables, cast.admin.call(), KeyFilter.ALL, limit=100)[0])
    assert after == before
    cast.settle()


def test_rotating_during_a_ceiling_cut_stays_within_the_new_ceiling(cast: Cast, line: Wire) -> None:
    line.before = once("TransactWriteItems", lambda: commit_only(cast, line, ceiling=NARROW), line)
    with pytest.raises(GrantsExceeded):
        rotation.rotate(
            cast.tables, cast.admin.call(), cast.keys[0].key.id, grace_seconds=0, prefix="hk"
        )
    cast.settle()
