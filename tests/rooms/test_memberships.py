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
from gatehouse.identities import rules
from gatehouse.identities.model import ClawType, Identity, IdentityPatch, IdentityType, Membership
from gatehouse.keys import actions as keys
from gatehouse.keys import rotation
from gatehouse.keys.model import Key, KeyPatch
from gatehouse.policy import actions as policy
from gatehouse.policy.model import MANAGE
from support.actors.members import (
    change,
    identity_of,
    key_of,
    member,
    unlimited_admin,
    visitor_with,
)
from support.actors.visitor import Visitor
from support.aws.faults import Wire
from support.checks.inspection import State
from support.checks.invariants import check_invariants, check_owners_of_keys, counter_value

LISTS = ("signal_types", "task_types", "ring_scopes", "memory_scopes")
lists = st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(tuple)
grants = st.builds(
    Grants,
    st.lists(st.sampled_from(KNOWN_SCOPES), max_size=4, unique=True).map(tuple),
    st.builds(Permissions, lists, lists, lists, lists),
)


def stored_key(caller: Visitor, key_id: str) -> Key:
    key = keys.find(caller.tables, caller.account_id, key_id)
    assert key is not None
    return key


# ---- The last admin --------------------------------------------------------------------------

ENDS: list[dict[str, Any]] = [{"is_admin": False}, {"status": "suspended"}, {"status": "removed"}]


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_the_last_admin_cannot_be_demoted_suspended_or_removed(
    caller: Visitor, fields: dict[str, Any]
) -> None:
    member(caller)  # another member, who is not an admin
    before = State(caller.tables).main
    with pytest.raises(Conflict) as refused:
        change(caller, caller, **fields)
    assert refused.value.code == "IDENTITY_LAST_ADMIN"
    assert State(caller.tables).main == before
    assert change(caller, caller, name="still there", claw_type="employee").is_acting_admin


@pytest.mark.parametrize("fields", ENDS, ids=str)
def test_one_of_two_admins_can_go_and_then_the_other_cannot(
    caller: Visitor, fields: dict[str, Any]
) -> None:
    second = member(caller)
    change(caller, second, is_admin=True)
    change(caller, second, **fields)
    for fields_of_who in ENDS:
        with pytest.raises(Conflict):
            change(caller, caller, **fields_of_who)
    check_invariants(caller.tables, now=caller.now)


def test_a_suspended_admin_does_not_count_as_an_admin(caller: Visitor) -> None:
    second = member(caller)
    change(caller, second, is_admin=True, status="suspended")
    with pytest.raises(Conflict):
        change(caller, caller, is_admin=False)
    change(caller, second, status="active")
    change(caller, caller, is_admin=False)
    state = check_invariants(caller.tables, now=caller.now)
    assert counter_value(state, f"IDENTITY#{caller.account_id}") == 1


@pytest.mark.parametrize("first", ENDS, ids=str)
@pytest.mark.parametrize("second", ENDS, ids=str)
def test_two_changes_at_once_cannot_end_both_of_the_last_admins(
    caller: Visitor, room_line: Wire, first: dict[str, Any], second: dict[str, Any]
) -> None:
    other = member(caller)
    change(caller, other, is_admin=True)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(caller, other, **first)

    room_line.before = before_the_write
    with pytest.raises(Conflict) as refused:
        change(caller, caller, **second)
    assert refused.value.code == "IDENTITY_LAST_ADMIN"
    assert identity_of(caller).is_acting_admin
    check_owners_of_keys(check_invariants(caller.tables, now=caller.now), now=caller.now)


def test_the_same_admin_demoted_twice_at_once_is_counted_once(
    caller: Visitor, room_line: Wire
) -> None:
    other = member(caller)
    change(caller, other, is_admin=True)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(caller, other, is_admin=False)

    room_line.before = before_the_write
    assert not change(caller, other, is_admin=False).is_admin
    check_owners_of_keys(check_invariants(caller.tables, now=caller.now), now=caller.now)


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


def test_an_identity_of_another_account_is_not_found(caller: Visitor) -> None:
    stranger = unlimited_admin(caller.tables)
    with pytest.raises(NotFound):
        change(caller, stranger, name="mine")


def test_promotion_and_demotion_apply_to_every_key_at_once(caller: Visitor) -> None:
    target = member(caller)
    keys_of_target = [target.minted, key_of(caller, target)]
    manage = policy.require(MANAGE)
    for is_admin in (True, False, True):
        change(caller, target, is_admin=is_admin)
        for minted in keys_of_target:
            principal = visitor_with(caller.tables, minted, caller.now).principal
            assert principal.is_admin == is_admin
            if is_admin:
                manage(principal)
            else:
                with pytest.raises(PolicyDenied):
                    manage(principal)
    check_owners_of_keys(check_invariants(caller.tables, now=caller.now), now=caller.now)


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


def test_a_key_whose_permission_list_would_become_empty_is_disabled(caller: Visitor) -> None:
    """Because an empty list would mean everything."""
    target = member(caller)
    pulse = key_of(caller, target, permissions={"signal_types": ["pulse"]})
    change(caller, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))
    assert caller.admit(pulse.secret).code is Code.DISABLED
    assert not stored_key(caller, pulse.key.id).enabled
    assert caller.admit(target.minted.secret).code is Code.VALID
    state = check_invariants(caller.tables, now=caller.now)
    check_owners_of_keys(state, now=caller.now)
    assert state.events(caller.account_id)[-1]["action"] == "api_key.update"


def test_a_key_beyond_its_owners_ceiling_cannot_be_enabled(
    caller: Visitor,
) -> None:
    target = member(caller)
    pulse = key_of(caller, target, permissions={"signal_types": ["pulse"]})
    change(caller, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))
    with pytest.raises(GrantsExceeded):
        keys.patch(caller.tables, caller.call(), pulse.key.id, KeyPatch(enabled=True))
    with pytest.raises(GrantsExceeded):
        rotation.rotate(caller.tables, caller.call(), pulse.key.id, grace_seconds=0, prefix="hk")
    keys.patch(caller.tables, caller.call(), pulse.key.id, KeyPatch(name="off, and renamed"))
    assert caller.admit(pulse.secret).code is Code.DISABLED
    change(caller, target, ceiling=FULL)
    keys.patch(caller.tables, caller.call(), pulse.key.id, KeyPatch(enabled=True))
    assert caller.admit(pulse.secret).code is Code.VALID
    check_owners_of_keys(check_invariants(caller.tables, now=caller.now), now=caller.now)


def test_enabling_a_key_fails_if_the_ceiling_is_cut_meanwhile(
    caller: Visitor, room_line: Wire
) -> None:
    target = member(caller)
    pulse = key_of(caller, target, permissions={"signal_types": ["pulse"]})
    keys.patch(caller.tables, caller.call(), pulse.key.id, KeyPatch(enabled=False))

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(caller, target, ceiling=Grants(("*",), Permissions(signal_types=("task",))))

    room_line.before = before_the_write
    with pytest.raises(GrantsExceeded):
        keys.patch(caller.tables, caller.call(), pulse.key.id, KeyPatch(enabled=True))
    check_owners_of_keys(check_invariants(caller.tables, now=caller.now), now=caller.now)


def test_a_wider_ceiling_does_not_widen_keys(caller: Visitor) -> None:
    target = member(caller, scopes=["services:read"])
    change(caller, target, ceiling=FULL)
    assert stored_key(caller, target.minted.key.id).grants == Grants(("services:read",))
    assert visitor_with(caller.tables, target.minted, caller.now).principal.grants.scopes == (
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
    caller: Visitor, fields: dict[str, Any], excess: dict[str, Any]
) -> None:
    own = Grants(("admin:manage", "services:*"), Permissions(ring_scopes=("a",)))
    narrow = replace(caller, principal=replace(caller.principal, grants=own))
    target = member(caller, scopes=["services:read"], permissions={"ring_scopes": ["a"]})
    with pytest.raises(GrantsExceeded) as refused:
        change(narrow, target, **fields)
    assert refused.value.details == excess
    within = change(narrow, target, scopes=("services:write",))
    assert within.ceiling == Grants(("services:write",), Permissions(ring_scopes=("a",)))


def test_scopes_and_permissions_of_a_ceiling_set_at_once_both_apply(
    caller: Visitor, room_line: Wire
) -> None:
    target = member(caller)

    def before_the_write(_: int, operation: str) -> None:
        if operation == "TransactWriteItems":
            room_line.before = None
            change(caller, target, permissions=Permissions(signal_types=("task",)))

    room_line.before = before_the_write
    after = change(caller, target, scopes=("services:*",))
    assert after.ceiling == Grants(("services:*",), Permissions(signal_types=("task",)))
    check_owners_of_keys(check_invariants(caller.tables, now=caller.now), now=caller.now)
