"""How a key finds its ancestors in few steps. Pure.

Each key has, beside its parent, a jump to an ancestor further up. Where a parent's jump and the
next one have the same length, its children jump as far as both together. So a key with `n`
ancestors reaches any of them in at most about `2.4 * log2(n)` steps, and a new key needs only its
parent and the parent's jump. E. Myers describes these jumps in "An applicative random-access
stack".
"""

from __future__ import annotations

from gatehouse.keys.model import Lineage


def needs_jump(parent: Lineage) -> bool:
    """Return whether `below` needs the place that the parent jumps to."""
    return parent.jump_depth > 0


def below(parent_id: str, parent: Lineage, *, jumped: Lineage | None) -> Lineage:
    """Return the place of a new key. `jumped` is the place of `parent.jump`, where it is needed."""
    place = Lineage(parent_id, parent.depth + 1, parent_id, parent.depth)
    if jumped is None or jumped.jump is None:
        return place
    length = parent.depth - parent.jump_depth
    if length != parent.jump_depth - jumped.jump_depth:
        return place
    return Lineage(parent_id, parent.depth + 1, jumped.jump, jumped.jump_depth)


def step_up(place: Lineage, *, to: int) -> tuple[str, int]:
    """Return the next ancestor on the way to the one of depth `to`, with its depth.

    Raises ValueError for a key that has no ancestor there.
    """
    if place.parent is None or place.depth <= to:
        raise ValueError("a key has no ancestor of this depth")
    if place.jump is not None and place.jump_depth >= to:
        return place.jump, place.jump_depth
    return place.parent, place.depth - 1
