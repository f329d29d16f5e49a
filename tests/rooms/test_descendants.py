"""Revoking a key together with the keys that it made, whoever made them in between."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gatehouse.audit import sweep
from gatehouse.core.clock import MINUTE, SECOND
from gatehouse.core.errors import Gone, NotFound, Unauthorized, Unavailable
from gatehouse.core.grants import MOST_ENTRIES
from gatehouse.core.text import LONGEST_LABEL
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.federation import actions as federation
from gatehouse.invites.model import Invite
from gatehouse.keys import actions as keys
from gatehouse.keys import rotation, store
from gatehouse.keys.model import LARGEST_METADATA, Key, Minted
from gatehouse.revocation import actions as revocation
from gatehouse.revocation.actions import Revoked
from gatehouse.wallets import actions as wallets
from gatehouse.webhooks import actions as webhooks
from gatehouse.webhooks.model import WebhookFields
from support.actors.members import (
    NONCE_SECRET,
    change,
    identity_of,
    invited,
    key_of,
    member,
    new_vault,
    outside,
    redeem_invite,
    signed,
    trusted,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor, key_request
from support.aws.faults import Killed, Wire, conflict_in_transaction, die_at, error, first
from support.checks.inspection import check_everything, items
from support.checks.invariants import check_invariants

MOST_CALLS = 60


def _make(caller: Visitor, **fields: Any) -> Minted:
    return keys.create(caller.tables, caller.call(), key_request(**fields))


def _child(caller: Visitor, parent: Minted, **fields: Any) -> Minted:
    """Make a key by another key."""
    return _make(visitor_with(caller.tables, parent, caller.now), **fields)


def _rotate(caller: Visitor, by: Minted, key: Minted, grace: int) -> Minted:
    return _rotate_as(visitor_with(caller.tables, by, caller.now), key, grace)


def _rotate_as(caller: Visitor, key: Minted, grace: int = 0) -> Minted:
    call = caller.call()
    return rotation.rotate(caller.tables, call, key.key.id, grace_seconds=grace, prefix="hk")


def _revoke(caller: Visitor, key: Minted, *, everything: bool = True) -> Revoked:
    return revocation.revoke(caller.tables, caller.call(), key.key.id, descendants=everything)


def _list(caller: Visitor) -> list[Key]:
    return store.read_all(caller.tables.main, caller.account_id)


def _codes(caller: Visitor, *made: Minted) -> set[Code]:
    return {caller.admit(one.secret).code for one in made}


def test_a_key_ends_with_its_descendants_and_nobody_else_does(caller: Visitor) -> None:
    root = _make(caller)
    children = [_child(caller, root) for _ in range(3)]
    grandchildren = [_child(caller, child) for child in children for _ in range(4)]
    sibling = _make(caller)
    revoked = _revoke(caller, root)
    expected = [f"api_key:{one.key.id}" for one in (*children, *grandchildren)]
    assert sorted(revoked.ended) == sorted(expected)
    assert _codes(caller, root, *children, *grandchildren) == {Code.REVOKED}
    assert _codes(caller, sibling, caller.minted) == {Code.VALID}
    state = check_everything(caller.tables, now=caller.now)
    events = state.events(caller.account_id)
    listed = [one for one in events if one["action"] == "api_key.revoke_descendants"]
    assert {one["target"] for one in listed} == {f"api_key:{root.key.id}"}
    assert [name for one in listed for name in one["after"]["ended"]] == list(revoked.ended)


def test_without_its_descendants_the_answer_counts_those_that_live(caller: Visitor) -> None:
    root = _make(caller)
    children = [_child(caller, root) for _ in range(3)]
    grandchild = _child(caller, children[0])
    expiring = _child(caller, children[1], expires_at=caller.now + SECOND)
    caller.now += SECOND
    _revoke(caller, children[0], everything=False)
    revoked = _revoke(caller, root, everything=False)
    assert (revoked.live_descendants, revoked.ended) == (3, ())
    assert _codes(caller, *children[1:], grandchild) == {Code.VALID}
    assert _codes(caller, expiring) == {Code.EXPIRED}
    again = _revoke(caller, root)
    assert len(again.ended) == 4, "an expired key could be extended"
    assert _codes(caller, *children, grandchild, expiring) == {Code.REVOKED}
    with pytest.raises(NotFound):
        _revoke(caller, root)


def test_a_stolen_key_that_rotated_itself_ends_in_all_its_successors(caller: Visitor) -> None:
    stolen = _make(caller)
    first = _rotate(caller, stolen, stolen, 600)
    second = _rotate(caller, first, first, 600)
    minted = _child(caller, second)
    assert _codes(caller, second, minted) == {Code.VALID}
    _revoke(caller, stolen)
    assert _codes(caller, stolen, first, second, minted) == {Code.REVOKED}
    check_everything(caller.tables, now=caller.now)


def test_both_keys_of_a_rotation_end_in_one_transaction(caller: Visitor) -> None:
    root = _make(caller)
    child = _child(caller, root)
    successor = _rotate(caller, root, child, 600)
    assert caller.admit(child.secret).code is Code.VALID
    _revoke(caller, root)
    assert _codes(caller, child, successor) == {Code.REVOKED}
    check_everything(caller.tables, now=caller.now)


def test_a_key_that_an_admin_rotated_does_not_end_with_the_old_key(caller: Visitor) -> None:
    lost = _make(caller)
    replacement = _rotate(caller, caller.minted, lost, 600)
    _revoke(caller, lost)
    assert _codes(caller, replacement) == {Code.VALID}


def test_a_member_ends_only_keys_of_their_own(caller: Visitor) -> None:
    target = member(caller)
    own = key_of(caller, target)
    holder = visitor_with(caller.tables, own, caller.now)
    mine = _make(holder)
    theirs = _child(caller, caller.minted)
    with pytest.raises(NotFound):
        revocation.revoke(caller.tables, holder.call(), theirs.key.id, descendants=True)
    revoked = revocation.revoke(caller.tables, holder.call(), own.key.id, descendants=True)
    assert revoked.ended == (f"api_key:{mine.key.id}",)


@pytest.mark.parametrize("act", ["create", "rotate another", "rotate itself"])
@pytest.mark.parametrize("later", [0, 1, SECOND])
def test_a_key_creates_no_key_after_its_end(
    caller: Visitor, room_line: Wire, act: str, later: int
) -> None:
    """Its request was admitted before, and writes after the key and its children were ended."""
    stolen, other = _make(caller), _make(caller)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            caller.now += later
            _revoke(caller, stolen)

    holder = visitor_with(caller.tables, stolen, caller.now)
    acts = {
        "create": lambda: _make(holder),
        "rotate another": lambda: _rotate_as(holder, other),
        "rotate itself": lambda: _rotate_as(holder, stolen),
    }
    room_line.before = before_the_write
    with pytest.raises((Unauthorized, NotFound)):
        acts[act]()
    assert {one.id for one in _list(caller)} == {
        one.key.id for one in (caller.minted, stolen, other)
    }
    assert _codes(caller, other) == {Code.VALID}
    check_everything(caller.tables, now=caller.now)


@pytest.mark.parametrize("rotated", ["root", "child"])
def test_a_request_of_a_grace_creates_no_key_after_the_revocation(
    caller: Visitor, room_line: Wire, rotated: str
) -> None:
    """It began in the grace of its key, and the grace was over when the family was revoked."""
    root = _make(caller)
    old = root if rotated == "root" else _child(caller, root)
    _rotate(caller, root, old, 1)
    holder = visitor_with(caller.tables, old, caller.now)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            caller.now += 2 * SECOND
            _revoke(caller, root)

    room_line.before = before_the_write
    with pytest.raises(Unauthorized):
        _make(holder)
    assert len(_list(caller)) == (3 if rotated == "root" else 4)
    check_everything(caller.tables, now=caller.now)


def _during(room_line: Wire, number: int, act: Callable[[], object]) -> None:
    """Have something happen before a call with this number, once."""

    def before(count: int, _: str) -> None:
        if count == number:
            room_line.before = None
            act()

    room_line.clear()
    room_line.before = before


def test_an_invite_redeemed_at_any_call_of_a_revocation_lets_nobody_stay(
    tables: Tables, room_line: Wire
) -> None:
    redeemed = []
    for number in range(1, MOST_CALLS):
        caller = unlimited_admin(tables)
        root = _make(caller, rate_limit=None)
        maker = visitor_with(tables, _child(caller, root, rate_limit=None), caller.now)
        come = partial(_come, maker, invited(maker, max_uses=2))
        _during(room_line, number, lambda come=come: redeemed.append(come()))
        _revoke(caller, root)
        if len(redeemed) < number:
            break
        came = redeemed[-1]
        assert _codes(caller, root, *came) == {Code.REVOKED}, number
        check_everything(tables, now=caller.now)
    assert {len(came) for came in redeemed} == {0, 2}


def _come(inviter: Visitor, invite: Invite) -> list[Minted]:
    """Redeem an invite and create a key as the new member; nothing if the invite has ended."""
    try:
        came = redeem_invite(inviter.tables, invite, now=inviter.now)
    except Gone:
        return []
    return [came.minted, _child(inviter, came.minted)]


def test_a_redemption_that_began_before_the_end_of_its_invite_creates_nothing(
    caller: Visitor, room_line: Wire
) -> None:
    root = _make(caller)
    invite = invited(visitor_with(caller.tables, root, caller.now), max_uses=2)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            caller.now += SECOND
            _revoke(caller, root)

    came = caller.now
    room_line.before = before_the_write
    with pytest.raises(Gone):
        redeem_invite(caller.tables, invite, now=came)
    assert len(_list(caller)) == 2
    check_everything(caller.tables, now=caller.now)


def _sign_in(caller: Visitor, address: str) -> Minted:
    call, wallet = outside(caller.now), signed(caller.now, address)
    return wallets.sign_in(caller.tables, call, wallet, secret=NONCE_SECRET).minted


def _let_in(inviter: Visitor) -> tuple[Visitor, str]:
    """Redeem an invite with a wallet. Return the new member and the wallet's address."""
    wallet = signed(inviter.now)
    invite = invited(inviter)
    came = redeem_invite(inviter.tables, invite, now=inviter.now, signed=wallet).minted
    return visitor_with(inviter.tables, came, inviter.now), wallet.address


def _attach(holder: Visitor) -> str:
    wallet = signed(holder.now, holder=holder)
    wallets.attach(holder.tables, holder.call(), wallet, secret=NONCE_SECRET)
    return wallet.address


@pytest.mark.parametrize("by_invite", [True, False])
def test_a_wallet_that_a_key_attached_signs_in_no_more_after_its_end(
    caller: Visitor, *, by_invite: bool
) -> None:
    """All keys that it signed in with end too, the earlier ones' children included."""
    root = _make(caller, rate_limit=None)
    thief = visitor_with(caller.tables, root, caller.now).unlimited()
    member, address = _let_in(thief) if by_invite else (thief, _attach(thief))
    first = _sign_in(caller, address)
    child = _child(caller, first, expires_at=first.key.expires_at)
    second = _sign_in(caller, address)
    assert _codes(caller, child, second) == {Code.VALID}
    revoked = _revoke(caller, root)
    assert f"wallet:{address}" in revoked.ended
    assert {f"api_key:{one.key.id}" for one in (child, second)} < set(revoked.ended)
    assert _codes(caller, root, first, child, second) == {Code.REVOKED}
    with pytest.raises(Unauthorized):
        _sign_in(caller, address)
    assert identity_of(member).wallet_address is None
    who = f"identity:{member.principal.identity_id}"
    assert revoked.live_identities == ((who,) if by_invite else ())
    with pytest.raises(NotFound):
        _revoke(caller, root)
    check_everything(caller.tables, now=caller.now)


def test_a_wallet_of_somebody_else_stays_attached(caller: Visitor) -> None:
    stolen, other = _make(caller), _make(caller, rate_limit=None)
    holder = visitor_with(caller.tables, other, caller.now).unlimited()
    attached = [_attach(holder), _let_in(caller)[1]]
    assert _revoke(caller, stolen).ended == ()
    assert _codes(caller, *(_sign_in(caller, address) for address in attached)) == {Code.VALID}


def test_a_sign_in_at_any_call_of_a_revocation_lets_nobody_stay(
    tables: Tables, room_line: Wire
) -> None:
    signed_in: list[list[Minted]] = []
    for number in range(1, 4 * MOST_CALLS, 3):
        caller = unlimited_admin(tables)
        root = _make(caller, rate_limit=None)
        _, address = _let_in(visitor_with(tables, root, caller.now))
        act = partial(_sign_in_and_make, caller, address)
        _during(room_line, number, lambda act=act: signed_in.append(act()))
        _revoke(caller, root)
        if room_line.before is not None:
            break
        assert _codes(caller, root, *signed_in[-1]) == {Code.REVOKED}, number
        with pytest.raises(Unauthorized):
            _sign_in(caller, address)
        check_everything(tables, now=caller.now)
    assert {len(made) for made in signed_in} == {0, 2}


def _sign_in_and_make(caller: Visitor, address: str) -> list[Minted]:
    try:
        minted = _sign_in(caller, address)
    except Unauthorized:
        return []
    return [minted, _child(caller, minted, expires_at=minted.key.expires_at)]


def test_a_crash_between_wallets_is_completed_by_a_repeat(tables: Tables, room_line: Wire) -> None:
    """The thief let somebody in, who signed in and let in another one, who signed in."""
    for number in range(1, 4 * MOST_CALLS, 3):
        caller = unlimited_admin(tables)
        root = _make(caller, rate_limit=None)
        member, one = _let_in(visitor_with(tables, root, caller.now))
        change(caller, member, is_admin=True)
        middle = _sign_in(caller, one)
        _, two = _let_in(visitor_with(tables, middle, caller.now))
        last = _sign_in(caller, two)
        room_line.clear()
        room_line.before = die_at(number)
        with contextlib.suppress(Killed):
            _revoke(caller, root)
        done = len(room_line.calls) < number
        room_line.clear()
        with contextlib.suppress(NotFound):
            _revoke(caller, root)
        assert _codes(caller, root, middle, last) == {Code.REVOKED}, number
        for address in (one, two):
            with pytest.raises(Unauthorized):
                _sign_in(caller, address)
        if done:
            return
    pytest.fail("it still makes more calls")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_call_is_completed_by_a_repeat(
    tables: Tables, room_line: Wire, when: str
) -> None:
    for number in range(1, MOST_CALLS):
        caller = unlimited_admin(tables)
        root = _make(caller)
        child = _child(caller, root)
        grandchild = _child(caller, child)
        room_line.clear()
        setattr(room_line, when, die_at(number))
        try:
            _revoke(caller, root)
        except Killed:
            died = True
        else:
            died = False
        room_line.clear()
        try:
            _revoke(caller, root)
        except NotFound:
            assert _codes(caller, grandchild) == {Code.REVOKED}
        assert _codes(caller, root, child, grandchild) == {Code.REVOKED}
        sweep.sweep(tables.main, now=caller.now)
        assert check_everything(tables, now=caller.now).endings(caller.account_id) == []
        if not died:
            return
    pytest.fail("it still makes more calls")


def test_a_large_family_ends_in_few_transactions(caller: Visitor, room_line: Wire) -> None:
    root = _make(caller)
    for _ in range(35):
        _child(caller, root)
    room_line.clear()
    assert len(_revoke(caller, root).ended) == 35
    # Two for the key itself, two for each ten of its children, and two for the marker.
    assert room_line.calls.count("TransactWriteItems") == 2 + 2 * 4 + 2


def test_the_largest_keys_end_together_without_a_marker_too_large(
    caller: Visitor, room_line: Wire
) -> None:
    labels = [f"{number:02}" + "\U0001f600" * (LONGEST_LABEL - 2) for number in range(MOST_ENTRIES)]
    lists = {"task_types": labels, "ring_scopes": labels}
    metadata = {"text": "\U0001f600" * ((LARGEST_METADATA - 20) // 12)}
    root = _make(caller)
    made = [_child(caller, root, permissions=lists, metadata=metadata) for _ in range(11)]
    room_line.clear()
    revoked = _revoke(caller, root)
    assert len(revoked.ended) == 11
    assert room_line.calls.count("TransactWriteItems") == 2 + 2 * 3 + 2, "four keys fit a marker"
    assert _codes(caller, *made) == {Code.REVOKED}
    check_everything(caller.tables, now=caller.now)


@pytest.mark.usefixtures("settings_key")
def test_what_a_key_and_its_descendants_made_ends_too(
    caller: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_OUTBOUND", "local")
    table, vault = caller.tables.main, new_vault()
    root = _make(caller, rate_limit=None)
    child = visitor_with(caller.tables, _child(caller, root, rate_limit=None), caller.now)
    fields = WebhookFields(url="http://127.0.0.1:9000/in")
    ends = webhooks.create(table, child.call(), vault, fields=fields).webhook
    stays = webhooks.create(table, caller.call(), vault, fields=fields).webhook
    peers = [trusted(one, vault).peer.id for one in (child, caller)]
    invites = [invited(one, max_uses=2) for one in (child, caller)]
    redeemed = [redeem_invite(caller.tables, one, now=caller.now).minted for one in invites]
    revoked = _revoke(caller, root)
    assert set(revoked.ended) == {
        f"api_key:{child.principal.key_id}",
        f"api_key:{redeemed[0].key.id}",
        f"webhook:{ends.id}",
        f"peer:{peers[0]}",
        f"invite:{invites[0].id}",
    }
    assert _codes(caller, redeemed[0]) == {Code.REVOKED}
    assert _codes(caller, redeemed[1]) == {Code.VALID}
    active = [webhooks.get(table, caller.account_id, one.id).active for one in (ends, stays)]
    assert active == [False, True]
    left = federation.list_peers(table, caller.account_id, now=caller.now)
    assert [peer.id for peer, _ in left] == [peers[1]]
    with pytest.raises(NotFound):
        _revoke(caller, root)
    check_invariants(caller.tables, now=caller.now)


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("dead", [0, 30])
def test_revoked_descendants_cost_a_revocation_no_calls(
    caller: Visitor, room_line: Wire, dead: int, *, everything: bool
) -> None:
    root = _make(caller)
    for _ in range(dead):
        _revoke(caller, _child(caller, root), everything=False)
    room_line.clear()
    _revoke(caller, root, everything=everything)
    assert len(room_line.calls) <= (18 if everything else 8)


@pytest.mark.parametrize("generations", [1, 40])
def test_what_a_dead_descendant_left_is_found_by_the_key_that_made_it(
    caller: Visitor, room_line: Wire, generations: int
) -> None:
    """Each generation trusts a peer, and its keys are dead before the revocation."""
    root = _make(caller, rate_limit=None)
    vault, made, last = new_vault(), [], root
    for _ in range(generations):
        caller.now += SECOND
        last = _child(caller, last, rate_limit=None)
        made.append(trusted(visitor_with(caller.tables, last, caller.now), vault).peer.id)
    caller.now += SECOND
    outside_the_family = trusted(caller, vault).peer.id
    for key in _list(caller):
        if key.parent not in {None, caller.principal.key_id}:
            keys.revoke(caller.tables, caller.call(), key.id)
    room_line.clear()
    revoked = _revoke(caller, root)
    assert sorted(revoked.ended) == sorted(f"peer:{one}" for one in made)
    reads = sum(name in {"GetItem", "BatchGetItem", "Query"} for name in room_line.calls)
    assert reads <= 24 + 2 * generations, "two for each peer that is removed"
    left = federation.list_peers(caller.tables.main, caller.account_id, now=caller.now)
    assert [peer.id for peer, _ in left] == [outside_the_family]


@pytest.mark.parametrize("step", [0, 1, 2, 4, 6, 7])
def test_what_a_request_has_no_time_for_ends_by_the_sweeper(
    caller: Visitor, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The clock of the request stops at one look at it after the other."""
    root = _make(caller, rate_limit=None)
    thief = visitor_with(caller.tables, root, caller.now).unlimited()
    made = [_child(caller, root) for _ in range(12)]
    _, address = _let_in(thief)
    peer = trusted(thief, new_vault()).peer.id
    signed_in = _sign_in(caller, address)
    looks = itertools.count(-step)
    monkeypatch.setattr("gatehouse.revocation.actions.time", _Clock(lambda: 0))
    for module in ("revocation.cascade", "keys.descendants"):
        clock = _Clock(lambda: 1_000 * (next(looks) > 0))
        monkeypatch.setattr(f"gatehouse.{module}.time", clock)
    revoked = _revoke(caller, root)
    monkeypatch.undo()
    assert _codes(caller, root) == {Code.REVOKED}
    assert revoked.more
    main = caller.tables.main
    assert revocation.sweep(caller.tables, now=caller.now + MINUTE - 1) == 0, "it may still run"
    revocation.sweep(caller.tables, now=caller.now + MINUTE)
    assert _codes(caller, root, *made, signed_in) == {Code.REVOKED}
    assert peer not in {one.id for one, _ in federation.list_peers(main, caller.account_id, 0)}
    with pytest.raises(Unauthorized):
        _sign_in(caller, address)
    assert revocation.sweep(caller.tables, now=caller.now + MINUTE) == 0
    assert not [item for item in items(main) if item["pk"].startswith("CASCADE#")]
    events = check_everything(caller.tables, now=caller.now).events(caller.account_id)
    ended = [one for one in events if one["action"] in {"api_key.revoke", "peer.remove"}]
    assert {one["actor"] for one in ended} == {f"identity:{caller.principal.identity_id}"}


class _Clock:
    """`time` of a module, with another monotonic clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic


@pytest.mark.parametrize("at", [1, -1])
def test_a_conflict_on_the_marker_fails_no_revocation(
    caller: Visitor, room_line: Wire, at: int
) -> None:
    """Two equal requests write it at once, or one deletes it while the other writes it."""
    root, other = _make(caller), _make(caller)
    child = _child(caller, root)
    room_line.clear()
    _revoke(caller, other)
    number = room_line.calls.count("TransactWriteItems") if at < 0 else 1
    room_line.clear()
    transactions = itertools.count(1)
    room_line.before = lambda _, name: (
        conflict_in_transaction(1)
        if name == "TransactWriteItems" and next(transactions) == number + 2 * (at < 0)
        else None
    )
    assert _revoke(caller, root).ended == (f"api_key:{child.key.id}",)
    room_line.clear()
    assert revocation.sweep(caller.tables, now=caller.now + MINUTE) == 0
    assert not [item for item in items(caller.tables.main) if item["pk"].startswith("CASCADE#")]


def test_a_revocation_that_does_nothing_leaves_no_marker(caller: Visitor, room_line: Wire) -> None:
    root = _make(caller)
    room_line.before = first(99, lambda: error("TransactionConflictException"), "UpdateItem")
    with pytest.raises(Unavailable):
        _revoke(caller, root)
    room_line.clear()
    assert _codes(caller, root) == {Code.VALID}
    assert not [item for item in items(caller.tables.main) if item["pk"].startswith("CASCADE#")]


@pytest.mark.parametrize("generations", [3, 60])
def test_a_live_key_ends_before_its_dead_ancestors_are_read(
    caller: Visitor, room_line: Wire, generations: int
) -> None:
    root = _make(caller)
    last = _child(caller, root)
    for _ in range(generations):
        caller.now += SECOND
        last = _rotate(caller, last, last, 0)
    room_line.clear()
    assert _revoke(caller, root, everything=False).live_descendants == 1
    assert len(room_line.calls) <= 24
    room_line.clear()
    room_line.before = die_at(30)
    with contextlib.suppress(Killed):
        _revoke(caller, root)
    room_line.clear()
    assert _codes(caller, last) == {Code.REVOKED}
