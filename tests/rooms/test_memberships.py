"""Who may act: the last admin stays, ceilings cut and never give, changes meet each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.errors import BadInput, Conflict, GrantsExceeded, NotFound, PolicyDenied
from gatehouse.core.grants import ATOMS, FULL, KNOWN_SCOPES, Grants, Permissions
from gatehouse.credentials.model import Code
from gatehouse.dynamo.table import Tables
from gatehouse.identities import rules
from gatehouse.identities.model import ClawType, Identity, IdentityPatch, IdentityType, Membership
from gatehouse.keys import actions as keys
from gatehouse.keys.model import Key, KeyPatch
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from support.actors.members import boss, change, identity_of, key_of, member, seen_with
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_followed, check_standing, tally

LISTS = ("signal_types", "task_types", "ring_scopes", "memory_scopes")
lists = st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple)
grants = st.builds(
    Grants,
    st.lists(st.sampled_from(KNOWN_SCOPES), max_size=4, unique=True).map(tuple),
    st.builds(Permissions, lists, lists, lists, lists),
)


@pytest.fixture
def who(tables: Tables) -> Visitor:
    return boss(tables)


def stands(who: Visitor, key_id: str) -> Key:
    found = keys.find(who.tables, who.account_id, key_id)
    assert found is not None
    return found


# ---- The last admin --------------------------------------------------------------------------

ENDS: list[dict[str, Any]] = [{"is_admin": False}, {"status": "suspended"}, {"status": "removed"}]


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_the_last_admin_is_neither_demoted_suspended_nor_removed(
    who: Visitor, fields: dict[str, Any]
) -> None:
    member(who)  # somebody is there, but no admin
    before = State(who.tables).main
    with pytest.raises(Conflict) as refused:
        change(who, who, **fields)
    assert refused.value.code == "IDENTITY_LAST_ADMIN"
    assert State(who.tables).main == before
    assert change(who, who, name="still there", claw_type="employee").is_acting_admin


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_an_admin_who_is_not_the_last_goes_and_then_the_other_is_the_last(
    who: Visitor, fields: dict[str, Any]
) -> None:
    second = member(who)
    change(who, second, is_admin=True)
    change(who, second, **fields)
    for ended in ENDS:
        with pytest.raises(Conflict):
            change(who, who, **ended)
    check_standing(who.tables, now=who.now)


def test_an_admin_who_may_not_act_does_not_count_as_one(who: Visitor) -> None:
    second = member(who)
    change(who, second, is_admin=True, status="suspended")
    with pytest.raises(Conflict):
        change(who, who, is_admin=False)
    change(who, second, status="active")
    change(who, who, is_admin=False)
    state = check_standing(who.tables, now=who.now)
    assert tally(state, f"IDENTITY#{who.account_id}") == 1


@pytest.mark.parametrize("first", ENDS, ids=str)
@pytest.mark.parametrize("second", ENDS, ids=str)
def test_of_two_that_end_the_last_two_admins_at_once_one_is_refused(
    who: Visitor, room_line: Wire, first: dict[str, Any], second: dict[str, Any]
) -> None:
    other = member(who)
    change(who, other, is_admin=True)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, other, **first)

    room_line.before = between
    with pytest.raises(Conflict) as refused:
        change(who, who, **second)
    assert refused.value.code == "IDENTITY_LAST_ADMIN"
    assert identity_of(who).is_acting_admin
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


def test_the_same_admin_demoted_twice_at_once_is_demoted_and_nobody_is_the_last(
    who: Visitor, room_line: Wire
) -> None:
    other = member(who)
    change(who, other, is_admin=True)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, other, is_admin=False)

    room_line.before = between
    assert not change(who, other, is_admin=False).is_admin
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


# ---- What changes, and to what ---------------------------------------------------------------

SOMEBODY = Identity(
    id="i",
    account_id="a",
    name="bo",
    type=IdentityType.HUMAN,
    is_admin=False,
    claw_type=ClawType.EMPLOYEE,
    membership=Membership.ACTIVE,
    created_at=1,
)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "invited"},
        {"status": "Active"},
        {"status": ""},
        {"claw_type": "boss"},
        {"claw_type": ""},
    ],
)
def test_what_no_identity_can_be_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadInput) as refused:
        rules.patched(SOMEBODY, IdentityPatch(**fields))
    assert refused.value.details["field"] == next(iter(fields))


def test_every_change_moves_the_version_and_leaves_the_rest() -> None:
    changed = rules.patched(SOMEBODY, IdentityPatch(status="removed", claw_type="service"))
    assert changed == replace(
        SOMEBODY, membership=Membership.REMOVED, claw_type=ClawType.SERVICE, version=2
    )


def test_an_identity_of_another_account_is_not_found(who: Visitor) -> None:
    stranger = boss(who.tables)
    with pytest.raises(NotFound):
        change(who, stranger, name="mine")


def test_promotion_and_demotion_hold_for_every_key_at_once(who: Visitor) -> None:
    target = member(who)
    keys_of_target = [target.minted, key_of(who, target)]
    manage = policy.require(MANAGE)
    for is_admin in (True, False, True):
        change(who, target, is_admin=is_admin)
        for minted in keys_of_target:
            caller = seen_with(who.tables, minted, who.now).principal
            assert caller.is_admin == is_admin
            if is_admin:
                manage(caller)
            else:
                with pytest.raises(PolicyDenied):
                    manage(caller)
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


# ---- Ceilings --------------------------------------------------------------------------------


@given(grants, grants)
def test_what_is_cut_lies_within_both_and_cutting_again_changes_nothing(
    held: Grants, ceiling: Grants
) -> None:
    cut = held.cut_to(ceiling)
    if cut is None:
        assert any(
            mine and most and not set(mine) & set(most)
            for mine, most in (
                (getattr(held.permissions, name), getattr(ceiling.permissions, name))
                for name in LISTS
            )
        )
        return
    assert cut.excess_over(held) == {}
    assert cut.excess_over(ceiling) == {}
    assert cut.cut_to(ceiling) == cut
    assert cut.cut_to(held) == cut


@given(grants, grants)
def test_nothing_is_gained_and_nothing_lost_that_both_hold(held: Grants, ceiling: Grants) -> None:
    cut = held.cut_to(ceiling)
    if cut is None:
        return
    for scope in ATOMS:
        assert cut.opens(scope) == (held.opens(scope) and ceiling.opens(scope))
    for name in LISTS:
        mine, most, now = (
            set(getattr(one.permissions, name)) or set("abc") for one in (held, ceiling, cut)
        )
        assert now == mine & most


@given(grants)
def test_a_ceiling_that_holds_it_already_leaves_a_key_as_it_is(held: Grants) -> None:
    assert held.cut_to(FULL) == held
    assert held.cut_to(held) == held


def test_a_key_with_nothing_left_of_a_permission_list_is_switched_off(who: Visitor) -> None:
    """An empty list would mean everything."""
    target = member(who)
    pulse = key_of(who, target, permissions={"signal_types": ["pulse"]})
    change(who, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))
    assert who.admit(pulse.secret).code is Code.DISABLED
    assert not stands(who, pulse.key.id).enabled
    assert who.admit(target.minted.secret).code is Code.VALID
    state = check_standing(who.tables, now=who.now)
    check_followed(state, now=who.now)
    assert state.events(who.account_id)[-1]["action"] == "api_key.update"


def test_a_key_that_was_switched_off_is_not_switched_on_beyond_its_owners_ceiling(
    who: Visitor,
) -> None:
    target = member(who)
    pulse = key_of(who, target, permissions={"signal_types": ["pulse"]})
    change(who, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))
    with pytest.raises(GrantsExceeded):
        keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=True))
    with pytest.raises(GrantsExceeded):
        keys.rotate(who.tables, who.call(), pulse.key.id, grace_seconds=0, prefix="hk")
    keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(name="off, and renamed"))
    assert who.admit(pulse.secret).code is Code.DISABLED
    change(who, target, ceiling=FULL)
    keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=True))
    assert who.admit(pulse.secret).code is Code.VALID
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


def test_switching_a_key_on_races_a_ceiling_cut_and_loses(who: Visitor, room_line: Wire) -> None:
    target = member(who)
    pulse = key_of(who, target, permissions={"signal_types": ["pulse"]})
    keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=False))

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))

    room_line.before = between
    with pytest.raises(GrantsExceeded):
        keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=True))
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


def test_a_wider_ceiling_gives_a_key_nothing(who: Visitor) -> None:
    target = member(who, scopes=["services:read"])
    change(who, target, ceiling=FULL)
    assert stands(who, target.minted.key.id).grants == Grants(("services:read",))
    assert seen_with(who.tables, target.minted, who.now).principal.grants.scopes == (
        "services:read",
    )


@pytest.mark.parametrize(
    ("fields", "excess"),
    [
        ({"ceiling": FULL}, {"scopes": ["*"], "ring_scopes": ["*"]}),
        ({"scopes": ("agents:read",)}, {"scopes": ["agents:read"]}),
        ({"scopes": ("services:read", "*:read")}, {"scopes": ["*:read"]}),
        ({"permissions": Permissions(ring_scopes=("b",))}, {"ring_scopes": ["b"]}),
        ({"permissions": Permissions()}, {"ring_scopes": ["*"]}),
    ],
    ids=str,
)
def test_nobody_gives_a_ceiling_beyond_their_own_grants(
    who: Visitor, fields: dict[str, Any], excess: dict[str, Any]
) -> None:
    own = Grants(("admin:manage", "services:*"), Permissions(ring_scopes=("a",)))
    narrow = replace(who, principal=replace(who.principal, grants=own))
    target = member(who, scopes=["services:read"], permissions={"ring_scopes": ["a"]})
    with pytest.raises(GrantsExceeded) as refused:
        change(narrow, target, **fields)
    assert refused.value.details == excess
    within = change(narrow, target, scopes=("services:write",))
    assert within.ceiling == Grants(("services:write",), Permissions(ring_scopes=("a",)))


def test_two_halves_of_a_ceiling_set_at_once_both_hold(who: Visitor, room_line: Wire) -> None:
    target = member(who)

    def between(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, target, permissions=Permissions(signal_types=("task",)))

    room_line.before = between
    after = change(who, target, scopes=("services:*",))
    assert after.ceiling == Grants(("services:*",), Permissions(signal_types=("task",)))
    check_followed(check_standing(who.tables, now=who.now), now=who.now)
