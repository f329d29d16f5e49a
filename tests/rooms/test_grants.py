"""Scopes and permissions: what covers what, and who may grant what."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import reach
from gatehouse.core.errors import BadInput, FieldRequired, GrantsExceeded
from gatehouse.core.grants import (
    AREAS,
    ATOMS,
    EVERYTHING,
    FULL,
    KNOWN_SCOPES,
    Grants,
    Permissions,
    covers,
)
from gatehouse.core.principal import Principal
from gatehouse.core.reach import Reach
from gatehouse.keys import rules

scopes = st.sampled_from(KNOWN_SCOPES)
atoms = st.sampled_from(ATOMS)
entries = st.lists(st.sampled_from("abcd"), max_size=3, unique=True).map(tuple)
permissions = st.builds(Permissions, entries, entries, entries, entries)
grants = st.builds(Grants, st.lists(scopes, max_size=4, unique=True).map(tuple), permissions)

PRINCIPAL = Principal(
    key_id="k",
    account_id="a",
    identity_id="i",
    key_prefix="hk_0000",
    grants=FULL,
    is_admin=True,
    claw_type="central",
    membership="active",
    operator=False,
)


@given(scopes)
def test_every_scope_covers_itself_and_a_star_covers_all(scope: str) -> None:
    assert covers(scope, scope)
    assert all(covers(star, scope) for star in EVERYTHING)


@given(scopes, scopes, scopes)
def test_covering_is_transitive(one: str, two: str, three: str) -> None:
    if covers(one, two) and covers(two, three):
        assert covers(one, three)


@given(scopes, scopes)
def test_a_scope_that_covers_another_opens_all_that_the_other_opens(a: str, b: str) -> None:
    opened = {atom for atom in ATOMS if covers(a, atom)}
    other = {atom for atom in ATOMS if covers(b, atom)}
    if covers(a, b):
        assert other <= opened


@pytest.mark.parametrize("area", AREAS)
def test_write_does_not_imply_read_nor_read_write(area: str) -> None:
    assert not covers(f"{area}:write", f"{area}:read")
    assert not covers(f"{area}:read", f"{area}:write")
    for verb in ("read", "write"):
        assert covers(f"{area}:*", f"{area}:{verb}")
        assert covers(f"*:{verb}", f"{area}:{verb}")
        assert not covers(f"{area}:*", f"*:{verb}")
        assert not covers(f"*:{verb}", f"{area}:*")
    assert not covers(f"{area}:*", "*")


@pytest.mark.parametrize("pattern", ["*:read", "*:write", "services:*"])
def test_wildcards_of_areas_and_verbs_do_not_include_admin_manage(pattern: str) -> None:
    assert not covers(pattern, "admin:manage")


@given(grants)
def test_grants_do_not_exceed_themselves_or_full_grants(held: Grants) -> None:
    assert held.excess_over(held) == {}
    assert held.excess_over(FULL) == {}


@given(grants, grants, grants)
def test_being_within_is_transitive(one: Grants, two: Grants, three: Grants) -> None:
    if not one.excess_over(two) and not two.excess_over(three):
        assert one.excess_over(three) == {}


@given(grants, grants, atoms)
def test_grants_within_a_ceiling_open_nothing_beyond_it(
    held: Grants, ceiling: Grants, atom: str
) -> None:
    if not held.excess_over(ceiling) and held.opens(atom):
        assert ceiling.opens(atom)


@given(grants, grants)
def test_removing_the_excess_brings_grants_within_the_ceiling(
    held: Grants, ceiling: Grants
) -> None:
    excess = held.excess_over(ceiling)
    lists = held.permissions.to_dict()
    for name in ("signal_types", "task_types", "ring_scopes", "memory_scopes"):
        if excess.get(name) == ["*"]:
            lists[name] = list(getattr(ceiling.permissions, name))
        else:
            beyond = excess.get(name, [])
            kept = [entry for entry in lists[name] if entry not in beyond]
            lists[name] = kept or list(getattr(ceiling.permissions, name))
    kept_scopes = [scope for scope in held.scopes if scope not in excess.get("scopes", [])]
    narrowed = Grants(tuple(kept_scopes), Permissions.from_dict(lists))
    assert narrowed.excess_over(ceiling) == {}


@given(grants)
def test_grants_and_principals_survive_serialization(held: Grants) -> None:
    assert Grants.from_text(held.to_text()) == held
    principal = replace(PRINCIPAL, grants=held, expires_at=5, rate_limit=None)
    assert Principal.from_context(principal.to_context()) == principal
    assert all(isinstance(value, str) for value in principal.to_context().values())


def test_a_principal_with_a_missing_field_is_a_key_error() -> None:
    context = PRINCIPAL.to_context()
    for name in context.keys() - {"key_digest"}:  # Events of sockets have it, others may not.
        rest = {key: value for key, value in context.items() if key != name}
        with pytest.raises(KeyError):
            Principal.from_context(rest)


bounds = st.one_of(st.none(), st.integers(1, 100))


@given(held=grants, wanted=grants, mine=st.tuples(bounds, bounds), asked=st.tuples(bounds, bounds))
def test_no_key_can_create_one_with_more_than_it_has(
    held: Grants,
    wanted: Grants,
    mine: tuple[int | None, int | None],
    asked: tuple[int | None, int | None],
) -> None:
    caller = Reach.of(replace(PRINCIPAL, grants=held, expires_at=mine[0], rate_limit=mine[1]))
    within = (
        not wanted.excess_over(held)
        and (mine[0] is None or (asked[0] is not None and asked[0] <= mine[0]))
        and (mine[1] is None or (asked[1] is not None and asked[1] <= mine[1]))
    )
    if within:
        reach.check(caller, Reach(wanted, *asked))
        return
    with pytest.raises(GrantsExceeded) as exceeded:
        reach.check(caller, Reach(wanted, *asked))
    assert exceeded.value.details
    for name in exceeded.value.details:
        assert f"{name}: " in exceeded.value.message


@given(held=grants, ceiling=grants)
def test_grants_beyond_a_ceiling_are_refused(held: Grants, ceiling: Grants) -> None:
    if not held.excess_over(ceiling):
        rules.check_ceiling(held, ceiling)
        return
    with pytest.raises(GrantsExceeded) as exceeded:
        rules.check_ceiling(held, ceiling)
    assert exceeded.value.details == held.excess_over(ceiling)


def test_every_permission_list_is_written_out() -> None:
    assert {part.name for part in fields(Permissions)} == set(Permissions().to_dict())


@pytest.mark.parametrize("name", ["x", " x ", "ünïcode", "☃" * 200, "a b", "x" * 200])
def test_a_valid_name_is_trimmed(name: str) -> None:
    assert rules.checked_name(name) == name.strip()


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u3000"])
def test_a_name_must_not_be_blank(name: str) -> None:
    with pytest.raises(FieldRequired):
        rules.checked_name(name)


@pytest.mark.parametrize("name", ["x" * 201, "a\x00", "a\x1b[0m", "a\u202eb", "a\u2028b"])
def test_a_name_is_bounded_and_printable(name: str) -> None:
    with pytest.raises(BadInput):
        rules.checked_name(name)


@given(st.lists(scopes, max_size=60))
def test_repeated_scopes_are_dropped_in_order(values: list[str]) -> None:
    assert rules.checked_scopes(values) == tuple(dict.fromkeys(values))


@given(st.text(max_size=70).filter(lambda text: text not in KNOWN_SCOPES))
def test_an_unknown_scope_is_refused(scope: str) -> None:
    with pytest.raises(BadInput):
        rules.checked_scopes([scope])


@pytest.mark.parametrize("limit", [1, 60_000, None])
def test_a_rate_limit_from_1_to_60000_or_none_is_accepted(limit: int | None) -> None:
    assert rules.checked_rate_limit(limit, field="x") == limit


@pytest.mark.parametrize("limit", [0, -1, 60_001, 10**30])
def test_any_other_rate_limit_is_refused(limit: int) -> None:
    with pytest.raises(BadInput, match="x must be from 1 to 60000"):
        rules.checked_rate_limit(limit, field="x")


@pytest.mark.parametrize("value", [99, 100])
def test_an_expiry_must_be_in_the_future(value: int) -> None:
    with pytest.raises(BadInput, match="x must be in the future"):
        rules.checked_expiry(value, field="x", now=100)
    assert rules.checked_expiry(101, field="x", now=100) == 101


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({}, True),
        ({"x": "y" * 4_088}, True),
        ({"x": "y" * 4_089}, False),
        ({"x": "é" * 2_044}, True),
        ({"x": "é" * 2_045}, False),
    ],
)
def test_metadata_is_at_most_4096_bytes_of_json(value: dict[str, str], *, fits: bool) -> None:
    if fits:
        assert rules.checked_metadata(value) == value
    else:
        with pytest.raises(BadInput):
            rules.checked_metadata(value)
