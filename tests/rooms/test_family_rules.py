"""Jumps from a key to its ancestors: right for every pair, and few."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.keys import family_rules
from gatehouse.keys.model import Lineage


def _add(places: dict[str, Lineage], key_id: str, parent: str) -> None:
    place = places[parent]
    jumped = places[str(place.jump)] if family_rules.needs_jump(place) else None
    places[key_id] = family_rules.below(parent, place, jumped=jumped)


def _climb(places: dict[str, Lineage], key_id: str, to: int) -> tuple[str, int]:
    """Return the ancestor of this depth, and the number of steps."""
    steps, depth = 0, places[key_id].depth
    while depth > to:
        key_id, depth = family_rules.step_up(places[key_id], to=to)
        assert depth == places[key_id].depth
        steps += 1
    return key_id, steps


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_every_ancestor_is_found_in_every_tree(choices: list[int]) -> None:
    places = {"0": Lineage()}
    lines = {"0": ["0"]}
    for number, choice in enumerate(choices, start=1):
        # Mostly the newest key, so that trees are deep.
        parent = str(choice % number if choice % 3 == 0 else number - 1)
        _add(places, str(number), parent)
        lines[str(number)] = [*lines[parent], str(number)]
    for key_id, line in lines.items():
        assert [_climb(places, key_id, to)[0] for to in range(len(line))] == line


@pytest.mark.parametrize(("generations", "most"), [(1, 1), (2, 2), (50, 11), (5_000, 29)])
def test_steps_grow_with_the_logarithm_of_the_depth(generations: int, most: int) -> None:
    places = {"0": Lineage()}
    for number in range(1, generations + 1):
        _add(places, str(number), str(number - 1))
    last = str(generations)
    steps = [_climb(places, last, to)[1] for to in range(generations)]
    assert max(steps) <= most


@pytest.mark.parametrize(("place", "to"), [(Lineage(), 0), (Lineage("a", 1, "a", 0), 1)])
def test_there_is_no_step_to_a_depth_that_is_not_above(place: Lineage, to: int) -> None:
    with pytest.raises(ValueError, match="no ancestor"):
        family_rules.step_up(place, to=to)
