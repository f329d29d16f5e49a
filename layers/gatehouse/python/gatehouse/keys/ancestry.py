"""A family of keys, and which other keys and things belong to it, found from below.

Whatever is asked about is read, and of its ancestors only those that the jumps lead over. So keys
that ended cost nothing, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gatehouse.core.maker import Maker
from gatehouse.dynamo.table import Table
from gatehouse.keys import family_rules, store
from gatehouse.keys.model import Key, Lineage


@dataclass(frozen=True, slots=True)
class Family:
    """Some keys, the roots, and all whose chain of parents leads to one of them.

    `may_see` chooses what the caller finds of it. Remembers places and what was found: neither
    changes. Roots may be added.
    """

    table: Table = field(repr=False)
    account_id: str
    may_see: Callable[[Key], bool] = field(repr=False)
    _roots: dict[str, int] = field(default_factory=dict)
    _places: dict[str, Lineage] = field(default_factory=dict, repr=False)
    _found: dict[str, bool] = field(default_factory=dict, repr=False)

    def add_root(self, key: Key) -> None:
        """Let a key and its descendants belong to the family."""
        self._roots[key.id] = key.place.depth
        self._places[key.id] = key.place
        self._found.clear()

    def has_root(self, key_id: str) -> bool:
        """Return whether a key is one of the roots."""
        return key_id in self._roots

    def below(self, places: Mapping[str, Lineage]) -> set[str]:
        """Return which of some keys, given by id with their places, descend from a root."""
        self._places.update(places)
        standing = {key_id: key_id for key_id in places}
        found: set[str] = set()
        for depth in sorted(set(self._roots.values()), reverse=True):
            standing = self._climb(standing, depth)
            met = {key_id for key_id, at in standing.items() if at in self._roots and at != key_id}
            found |= met
            standing = {key_id: at for key_id, at in standing.items() if key_id not in met}
        return found

    def among(self, makers: Iterable[Maker]) -> set[Maker]:
        """Return which makers used a key of the family that the caller may see."""
        asked = {maker: maker.key_id for maker in makers if maker.key_id is not None}
        unknown = set(asked.values()) - self._found.keys()
        if unknown:
            keys = store.read_many(self.table, self.account_id, unknown)
            members = self.below({key.id: key.place for key in keys}) | self._roots.keys()
            self._found.update(dict.fromkeys(unknown, False))
            self._found.update({key.id: key.id in members and self.may_see(key) for key in keys})
        return {maker for maker, key_id in asked.items() if self._found[key_id]}

    def _climb(self, standing: Mapping[str, str], depth: int) -> dict[str, str]:
        """Move up from each place, at once, to its ancestor of this depth, if it is deeper."""
        reached = dict(standing)
        climbing = set(reached)
        while climbing:
            self._read({reached[key_id] for key_id in climbing})
            for key_id in tuple(climbing):
                place = self._places[reached[key_id]]
                if place.depth <= depth:
                    climbing.remove(key_id)
                else:
                    reached[key_id], above = family_rules.step_up(place, to=depth)
                    if above <= depth:
                        climbing.remove(key_id)
        return reached

    def _read(self, key_ids: Collection[str]) -> None:
        unknown = [one for one in key_ids if one not in self._places]
        if unknown:
            found = store.read_many(self.table, self.account_id, unknown)
            self._places.update({key.id: key.place for key in found})
