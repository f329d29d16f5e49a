"""Descendants of a key: the keys whose chain of parents leads to it.

A key creates no key after its own end, since both are transactions with a condition on it. So
descendants are ended from the top: once a key has ended, the list of its children is complete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.errors import Unavailable
from gatehouse.core.request import Call
from gatehouse.core.retry import Backoff
from gatehouse.dynamo.table import Table, Tables, TransactionConflict
from gatehouse.keys import actions, family_rules, rules, store
from gatehouse.keys.model import Key, Lineage
from gatehouse.keys.writes import counted, revocation, target

# How many descendants, and how many pages of unrevoked keys, are looked at to count the live ones.
MOST_COUNTED = 1_000
MOST_PAGES = 10
# Unrevoked keys that one call reads.
_PAGE = 1_000
# Keys that one transaction ends; each has up to four writes.
_TOGETHER = 10
# What its marker may have of changes, in bytes; an item of DynamoDB has at most 400 KB.
_LARGEST_TOGETHER = 250_000
# Each try reads anew.
_ON_CHANGE = Backoff(attempts=6)


@dataclass(frozen=True, slots=True)
class Ancestry:
    """A key and those below it. Remembers what it has read of places, which never change."""

    table: Table = field(repr=False)
    root: Key
    _places: dict[str, Lineage] = field(default_factory=dict, repr=False)

    def among(self, places: Mapping[str, Lineage]) -> set[str]:
        """Return which of some keys, given by id with their places, descend from the root."""
        self._places.update(places)
        depth = self.root.place.depth
        standing = {one: one for one, place in places.items() if place.depth > depth}
        found: set[str] = set()
        while standing:
            self._read(set(standing.values()))
            higher: dict[str, str] = {}
            for key_id, at in standing.items():
                above, its_depth = family_rules.step_up(self._places[at], to=depth)
                if its_depth > depth:
                    higher[key_id] = above
                elif above == self.root.id:
                    found.add(key_id)
            standing = higher
        return found

    def _read(self, key_ids: Collection[str]) -> None:
        unknown = [one for one in key_ids if one not in self._places]
        if unknown:
            found = store.read_many(self.table, self.root.account_id, unknown)
            self._places.update({key.id: key.place for key in found})


@dataclass(frozen=True, slots=True)
class Family:
    """A key and its descendants: those that ended now, and the ids of all that the caller sees.

    `members` are the ids of the identities whose first key is among them: an invite let them in.
    """

    root: Key
    was_revoked: bool
    ended: tuple[Key, ...]
    key_ids: frozenset[str]
    members: frozenset[str]


def count_live(tables: Tables, call: Call, key_id: str) -> int:
    """Count the descendants that are neither revoked nor expired.

    At most the newest 1,000 unrevoked descendants, among the newest 10,000 keys, are looked at.
    """
    root = store.read(tables.main, call.caller.account_id, key_id)
    if root is None:
        return 0
    family = Ancestry(tables.main, root)
    live, left = 0, MOST_COUNTED
    for number, page in enumerate(_pages(family), start=1):
        below = sorted(family.among(page), reverse=True)[:left]
        live += sum(_is_live(key, call) for key in _mine(family, call, below))
        left -= len(below)
        if left <= 0 or number >= MOST_PAGES:
            break
    return live


def revoke_all(tables: Tables, call: Call, key_id: str) -> Family:
    """Revoke a key, unless it is revoked already, and its descendants that the caller may see.

    Raises NotFound, or Unavailable if some are left: a repeat ends those.
    """
    root = store.read(tables.main, call.caller.account_id, key_id)
    if root is None or not rules.may_see(root, call.caller):
        raise actions.not_found()
    was_revoked = rules.is_revoked(root, call.now)
    if not was_revoked:
        root = actions.revoke(tables, call, key_id)
    _end_graces(tables.main, call, [root])
    ended = _end_live(tables, call, root)
    seen = {root.id}
    members: set[str] = set()
    generation = [root]
    while generation:
        children: list[Key] = []
        for key in generation:
            children += store.read_children(tables.main, root.account_id, key.id)
        ended += _end(tables, call, root, children)
        _end_graces(tables.main, call, children)
        seen |= {key.id for key in children if rules.may_see(key, call.caller)}
        owners = {key.id: key.owner for key in generation}
        # Whoever redeems an invite creates their key themselves, by the key of somebody else.
        members |= {
            key.owner
            for key in children
            if rules.may_see(key, call.caller)
            and key.parent is not None
            and key.created_by == key.owner != owners[key.parent]
        }
        generation = children
    return Family(root, was_revoked, tuple(ended), frozenset(seen), frozenset(members))


def _end_graces(table: Table, call: Call, keys: Sequence[Key]) -> None:
    """Mark those keys as ended whose grace was over when they were read.

    A request that began in the grace could otherwise still create a key with one of them.
    """
    for key in keys:
        if rules.is_revoked(key, call.now) and not key.ended:
            try:
                _ON_CHANGE.call(partial(store.end_grace, table, key), on=TransactionConflict)
            except TransactionConflict as conflict:
                raise Unavailable from conflict


def _end_live(tables: Tables, call: Call, root: Key) -> list[Key]:
    """End the live descendants, found from below: revoked keys between cost next to nothing."""
    family = Ancestry(tables.main, root)
    ended: list[Key] = []
    before = -1
    while len(ended) > before:
        before = len(ended)
        for page in _pages(family):
            live = [key for key in _mine(family, call, family.among(page)) if _is_live(key, call)]
            live.sort(key=lambda key: (key.place.depth, key.id))
            ended += _end(tables, call, root, live)
    return ended


def _pages(family: Ancestry) -> Iterator[dict[str, Lineage]]:
    """Read the places of the account's unrevoked keys, newest first."""
    before: str | None = None
    more = True
    while more:
        page, more = store.page_unrevoked(
            family.table, family.root.account_id, before=before, limit=_PAGE
        )
        if not page:
            return
        before = min(page)
        yield page


def _mine(family: Ancestry, call: Call, key_ids: Collection[str]) -> list[Key]:
    found = store.read_many(family.table, family.root.account_id, key_ids)
    return [key for key in found if rules.may_see(key, call.caller)]


def _is_live(key: Key, call: Call) -> bool:
    return not rules.is_revoked(key, call.now) and not rules.is_expired(key, call.now)


def _end(tables: Tables, call: Call, root: Key, keys: Sequence[Key]) -> list[Key]:
    """End keys that the caller may see, as many in one transaction as fit its marker."""
    waiting = [key for key in keys if rules.may_see(key, call.caller)]
    ended: list[Key] = []
    for attempt in _ON_CHANGE.tries():
        if attempt > 1:
            found = [store.read(tables.main, key.account_id, key.id) for key in waiting]
            waiting = [key for key in found if key is not None]
        refused: list[Key] = []
        for group in _groups([key for key in waiting if not rules.is_revoked(key, call.now)]):
            done = _end_together(tables, call, root, group)
            (ended if done else refused).extend(group)
        waiting = refused
        if not waiting:
            return ended
    raise Unavailable


def _groups(keys: Sequence[Key]) -> Iterator[list[Key]]:
    group: list[Key] = []
    size = 0
    for key in keys:
        view = rules.audit_view(key)
        more = Change("api_key.revoke", target(key), before=view, after=view).size
        if group and (len(group) == _TOGETHER or size + more > _LARGEST_TOGETHER):
            yield group
            group, size = [], 0
        group.append(key)
        size += more
    if group:
        yield group


def _end_together(tables: Tables, call: Call, root: Key, keys: Sequence[Key]) -> bool:
    """End keys in one transaction, with an event for each and one that lists them.

    False, and nothing is done, if one of them changed since it was read.
    """
    planned = [revocation(tables, key, now=call.now, together=keys) for key in keys]
    summary = Change(
        "api_key.revoke_descendants",
        target(root),
        after={"ended": [target(key) for key in keys]},
    )
    expired = [key for key in keys if not counted(key, call.now)]
    try:
        endings.end(
            tables.main,
            root.account_id,
            writes={
                f"{name}_{number}": write
                for number, (_, writes) in enumerate(planned)
                for name, write in writes.items()
            },
            changes=[summary, *(change for change, _ in planned)],
            counts={store.counter(root.account_id): len(keys) - len(expired)},
            origin=Origin.of(call),
            now=call.now,
        )
    except audit.Refused:
        return False
    return True
