"""How far a reach goes: each part at its bound and one beyond, and changes that narrow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import reach
from gatehouse.core.clock import SECOND
from gatehouse.core.errors import GrantsExceeded
from gatehouse.core.grants import KNOWN_SCOPES, Grants, Permissions
from gatehouse.core.principal import Principal
from gatehouse.core.reach import ADMIN, LISTS, LIVE, UNRESTRICTED_CLAW, Reach, Shown

NOON = 1_800_000_000 * SECOND
CALLER = Principal(
    key_id="k1",
    account_id="a1",
    identity_id="i1",
    key_prefix="hk_0000",
    grants=Grants(("agents:*",), Permissions(signal_types=("task",), ring_scopes=("red",))),
    is_admin=False,
    claw_type="service",
    membership="active",
    operator=False,
    expires_at=NOON,
    rate_limit=60,
)
MINE = Reach.of(CALLER)

entries = st.lists(st.sampled_from("ab"), max_size=2, unique=True).map(tuple)
grants = st.builds(
    Grants,
    st.lists(st.sampled_from(KNOWN_SCOPES), max_size=3, unique=True).map(tuple),
    st.builds(Permissions, entries, entries, entries, entries),
)
bounds = st.one_of(st.none(), st.integers(0, 3))
rights = st.frozensets(st.sampled_from((LIVE, ADMIN, UNRESTRICTED_CLAW)))
reaches = st.builds(Reach, grants, bounds, bounds, rights)


def _grants(*scopes: str, **lists: tuple[str, ...]) -> dict[str, Any]:
    base = {"signal_types": ("task",), "ring_scopes": ("red",)}
    return {"grants": Grants(scopes, Permissions(**{**base, **lists}))}


@pytest.mark.parametrize(
    ("thing", "excess"),
    [
        ({}, {}),
        (_grants("agents:read", "agents:write"), {}),
        (_grants("agents:read", "*:read"), {"scopes": ["*:read"]}),
        (_grants(signal_types=("task", "pulse")), {"signal_types": ["pulse"]}),
        (_grants(ring_scopes=()), {"ring_scopes": ["*"]}),
        (_grants(memory_scopes=("list",), task_types=()), {}),
        ({"expires_at": NOON + 1}, {"expires_at": "2027-01-15T08:00:00.000Z"}),
        ({"expires_at": None}, {"expires_at": None}),
        ({"expires_at": NOON - 1}, {}),
        ({"rate_limit": 61}, {"rate_limit": 61}),
        ({"rate_limit": None}, {"rate_limit": None}),
        ({"rate_limit": reach.NO_REQUESTS}, {}),
        ({"rights": frozenset()}, {}),
        (
            {"rights": frozenset({LIVE, UNRESTRICTED_CLAW, ADMIN})},
            {"claw_type": True, "is_admin": True},
        ),
    ],
)
def test_excess_names_each_part_that_exceeds(thing: dict[str, Any], excess: dict[str, Any]) -> None:
    assert reach.beyond(MINE, replace(MINE, **thing)) == excess


def test_a_list_that_does_not_concern_a_thing_cannot_exceed() -> None:
    thing = Reach(Grants(("agents:read",)), NOON, reach.NO_REQUESTS, concerns=("ring_scopes",))
    assert reach.beyond(MINE, thing) == {"ring_scopes": ["*"]}
    assert reach.beyond(MINE, replace(thing, concerns=LISTS)) == {
        "signal_types": ["*"],
        "ring_scopes": ["*"],
    }


def test_excess_has_the_names_of_the_request() -> None:
    thing = replace(
        MINE,
        grants=Grants((), Permissions(("task", "sense"), (), ("red",))),
        shown={"signal_types": Shown("allowed_scopes", prefix="signal:")},
    )
    assert reach.beyond(MINE, thing) == {"allowed_scopes": ["signal:sense"]}
    with pytest.raises(GrantsExceeded) as refused:
        reach.check(MINE, replace(thing, expires_at=None))
    assert refused.value.message == (
        'Beyond this key\'s own grants: allowed_scopes: ["signal:sense"]; expires_at: null'
    )
    assert refused.value.details == {"allowed_scopes": ["signal:sense"], "expires_at": None}


@pytest.mark.parametrize(
    ("caller", "held"),
    [
        ({}, {LIVE}),
        ({"claw_type": "employee"}, {LIVE, UNRESTRICTED_CLAW}),
        ({"is_admin": True}, {LIVE, UNRESTRICTED_CLAW, ADMIN}),
    ],
)
def test_an_admin_is_not_held_back_by_a_claw_type(caller: dict[str, Any], held: set[str]) -> None:
    assert Reach.of(replace(CALLER, **caller)) == Reach(CALLER.grants, NOON, 60, frozenset(held))


WIDE = Reach(Grants(("*",)), None, None)


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (WIDE, WIDE, False),  # another name or address
        (WIDE, replace(WIDE, expires_at=NOON + 9), True),
        (WIDE, replace(WIDE, rights=frozenset()), True),
        (WIDE, replace(WIDE, rate_limit=61, grants=MINE.grants), True),
        (replace(WIDE, rate_limit=61), replace(WIDE, expires_at=1, rate_limit=62), False),
        (replace(WIDE, rights=frozenset()), WIDE, False),
        (MINE, replace(MINE, rate_limit=61), False),
        (replace(MINE, rate_limit=1), MINE, True),
        (MINE, MINE, True),
    ],
)
def test_a_change_is_covered_before_and_after_or_only_narrows(
    before: Reach, after: Reach, *, allowed: bool
) -> None:
    if allowed:
        reach.check_change(MINE, before, after)
        return
    with pytest.raises(GrantsExceeded):
        reach.check_change(MINE, before, after)


@given(one=reaches, two=reaches, three=reaches)
def test_what_exceeds_nothing_of_a_lesser_reach_exceeds_nothing_of_a_greater(
    one: Reach, two: Reach, three: Reach
) -> None:
    assert reach.beyond(one, one) == {}
    if not reach.beyond(two, one) and not reach.beyond(three, two):
        assert reach.beyond(three, one) == {}


@given(mine=reaches, before=reaches, after=reaches)
def test_no_change_leaves_more_than_the_caller_or_the_thing_had(
    mine: Reach, before: Reach, after: Reach
) -> None:
    try:
        reach.check_change(mine, before, after)
    except GrantsExceeded:
        assert reach.beyond(mine, before) or reach.beyond(mine, after)
    else:
        assert not reach.beyond(before, after) or not reach.beyond(mine, after)
