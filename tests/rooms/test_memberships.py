"""Changes of identities: the last admin, ceilings, and two changes at the same time."""

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
from gatehouse.keys import rotation
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


def stored_key(who: Visitor, key_id: str) -> Key:
    key = keys.find(who.tables, who.account_id, key_id)
    assert key is not None
    return key


# ---- The last admin --------------------------------------------------------------------------

ENDS: list[dict[str, Any]] = [{"is_admin": False}, {"status": "suspended"}, {"status": "removed"}]


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_the_last_admin_cannot_be_demoted_suspended_or_removed(
    who: Visitor, fields: dict[str, Any]
) -> None:
    member(who)  # another member, who is not an admin
    before = State(who.tables).main
    with pytest.raises(Conflict) as refused:
        change(who, who, **fields)
    assert refused.value.code == "IDENTITY_LAST_ADMIN"
    assert State(who.tables).main == before
    assert change(who, who, name="still there", claw_type="employee").is_acting_admin


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_one_of_two_admins_can_go_and_then_the_other_cannot(
    who: Visitor, fields: dict[str, Any]
) -> None:
    second = member(who)
    change(who, second, is_admin=True)
    change(who, second, **fields)
    for fields_of_who in ENDS:
        with pytest.raises(Conflict):
            change(who, who, **fields_of_who)
    check_standing(who.tables, now=who.now)


def test_a_suspended_admin_does_not_count_as_an_admin(who: Visitor) -> None:
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
def test_two_changes_at_once_cannot_end_both_of_the_last_admins(
    who: Visitor, room_line: Wire, first: dict[str, Any], second: dict[str, Any]
) -> None:
    other = member(who)
    change(who, other, is_admin=True)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, other, **first)

    room_line.before = before_the_write
    with pytest.raises(Conflict) as refused:
        change(who, who, **second)
    assert refused.value.code == "IDENTITY_LAST_ADMIN"
    assert identity_of(who).is_acting_admin
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


def test_the_same_admin_demoted_twice_at_once_is_counted_once(
    who: Visitor, room_line: Wire
) -> None:
    other = member(who)
    change(who, other, is_admin=True)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, other, is_admin=False)

    room_line.before = before_the_write
    assert not change(who, other, is_admin=False).is_admin
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


# ---- Patches ---------------------------------------------------------------------------------

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
def test_an_unknown_status_or_claw_type_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadInput) as refused:
        rules.patched(SOMEBODY, IdentityPatch(**fields))
    assert refused.value.details["field"] == next(iter(fields))


def test_a_patch_increments_the_version_and_leaves_other_fields() -> None:
    changed = rules.patched(SOMEBODY, IdentityPatch(status="removed", claw_type="service"))
    assert changed == replace(
        SOMEBODY, membership=Membership.REMOVED, claw_type=ClawType.SERVICE, version=2
    )


def test_an_identity_of_another_account_is_not_found(who: Visitor) -> None:
    stranger = boss(who.tables)
    with pytest.raises(NotFound):
        change(who, stranger, name="mine")


def test_promotion_and_demotion_apply_to_every_key_at_once(who: Visitor) -> None:
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
def test_cut_grants_are_within_both_and_cutting_is_idempotent(
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
def test_cut_grants_keep_exactly_what_both_have(held: Grants, ceiling: Grants) -> None:
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
def test_grants_within_a_ceiling_are_not_cut(held: Grants) -> None:
    assert held.cut_to(FULL) == held
    assert held.cut_to(held) == held


def test_a_key_whose_permission_list_would_become_empty_is_disabled(who: Visitor) -> None:
    """Because an empty list would mean everything."""
    target = member(who)
    pulse = key_of(who, target, permissions={"signal_types": ["pulse"]})
    change(who, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))
    assert who.admit(pulse.secret).code is Code.DISABLED
    assert not stored_key(who, pulse.key.id).enabled
    assert who.admit(target.minted.secret).code is Code.VALID
    state = check_standing(who.tables, now=who.now)
    check_followed(state, now=who.now)
    assert state.events(who.account_id)[-1]["action"] == "api_key.update"


def test_a_key_beyond_its_owners_ceiling_cannot_be_enabled(
    who: Visitor,
) -> None:
    target = member(who)
    pulse = key_of(who, target, permissions={"signal_types": ["pulse"]})
    change(who, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))
    with pytest.raises(GrantsExceeded):
        keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=True))
    with pytest.raises(GrantsExceeded):
        rotation.rotate(who.tables, who.call(), pulse.key.id, grace_seconds=0, prefix="hk")
    keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(name="off, and renamed"))
    assert who.admit(pulse.secret).code is Code.DISABLED
    change(who, target, ceiling=FULL)
    keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=True))
    assert who.admit(pulse.secret).code is Code.VALID
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


def test_enabling_a_key_fails_if_the_ceiling_is_cut_meanwhile(
    who: Visitor, room_line: Wire
) -> None:
    target = member(who)
    pulse = key_of(who, target, permissions={"signal_types": ["pulse"]})
    keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=False))

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))

    room_line.before = before_the_write
    with pytest.raises(GrantsExceeded):
        keys.patch(who.tables, who.call(), pulse.key.id, KeyPatch(enabled=True))
    check_followed(check_standing(who.tables, now=who.now), now=who.now)


def test_a_wider_ceiling_does_not_widen_keys(who: Visitor) -> None:
    target = member(who, scopes=["services:read"])
    change(who, target, ceiling=FULL)
    assert stored_key(who, target.minted.key.id).grants == Grants(("services:read",))
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
def test_a_caller_cannot_set_a_ceiling_beyond_their_own_grants(
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


def test_scopes_and_permissions_of_a_ceiling_set_at_once_both_apply(
    who: Visitor, room_line: Wire
) -> None:
    target = member(who)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(who, target, permissions=Permissions(signal_types=("task",)))

    room_line.before = before_the_write
    after = change(who, target, scopes=("services:*",))
    assert after.ceiling == Grants(("services:*",), Permissions(signal_types=("task",)))
    check_followed(check_standing(who.tables, now=who.now), now=who.now)
