"""Count and end the descendants of keys: all keys whose chain of parents leads to them.

They are found among the unrevoked keys of the account. A key creates no key after its own end,
since both are transactions with a condition on it: when a look at all unrevoked keys ends none of
the family, there is none left, and there will be none.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.errors import Unavailable
from gatehouse.core.request import Call
from gatehouse.core.retry import ON_CHANGE
from gatehouse.dynamo.table import Table, Tables, TransactionConflict
from gatehouse.keys import rules, store
from gatehouse.keys.ancestry import Family
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


class OutOfTime(Exception):
    """The time for a revocation is over. What it ended stays ended; some is left."""


def family_of(tables: Tables, call: Call, *roots: Key) -> Family:
    """Return the family of some keys, as far as the caller may see it."""
    family = Family(
        tables.main, call.caller.account_id, lambda key: rules.may_see(key, call.caller)
    )
    for root in roots:
        family.add_root(root)
    return family


def count_live(tables: Tables, call: Call, key_id: str) -> int:
    """Count the descendants that are neither revoked nor expired.

    At most the newest 1,000 unrevoked descendants, among the newest 10,000 keys, are looked at.
    """
    root = store.read(tables.main, call.caller.account_id, key_id)
    if root is None:
        return 0
    family = family_of(tables, call, root)
    live, left = 0, MOST_COUNTED
    for number, page in enumerate(_pages(family), start=1):
        below = sorted(family.below(page), reverse=True)[:left]
        live += sum(
            not rules.is_revoked(key, call.now) and not rules.is_expired(key, call.now)
            for key in _mine(family, below)
        )
        left -= len(below)
        if left <= 0 or number >= MOST_PAGES:
            break
    return live


def end_all(
    tables: Tables, call: Call, root: Key, family: Family, *, until: float
) -> Iterator[Key]:
    """End the descendants of the family's roots that the caller may see; yield those that did.

    Their audit events name `root`. Raises OutOfTime when `time.monotonic()` passes `until`, and
    Unavailable; a repeat ends what is left. Expired keys end too: somebody could extend them.
    """
    found_some = True
    while found_some:
        found_some = False
        for page in _pages(family):
            keys = _mine(family, family.below(page))
            end_graces(tables.main, call, keys)
            unrevoked = [key for key in keys if not rules.is_revoked(key, call.now)]
            unrevoked.sort(key=lambda key: (rules.is_expired(key, call.now), key.place.depth))
            for ended in end(tables, call, root, unrevoked, until=until):
                found_some = True
                yield ended


def end_graces(table: Table, call: Call, keys: Sequence[Key]) -> None:
    """Mark those keys as ended whose grace was over when they were read.

    A request that began in the grace could otherwise still create a key with one of them. Raises
    Unavailable.
    """
    for key in keys:
        if rules.is_revoked(key, call.now) and not key.ended:
            try:
                ON_CHANGE.call(partial(store.end_grace, table, key), on=TransactionConflict)
            except TransactionConflict as conflict:
                raise Unavailable from conflict


def end(
    tables: Tables, call: Call, root: Key, keys: Sequence[Key], *, until: float
) -> Iterator[Key]:
    """End keys, as many in one transaction as fit its marker, and yield them.

    Raises OutOfTime, and Unavailable if they keep changing.
    """
    waiting = list(keys)
    conflict: audit.Refused | None = None
    for attempt in ON_CHANGE.tries():
        if attempt > 1:
            waiting = store.read_many(tables.main, root.account_id, [key.id for key in waiting])
        refused: list[Key] = []
        for group in _groups([key for key in waiting if not rules.is_revoked(key, call.now)]):
            if time.monotonic() > until:
                raise OutOfTime
            try:
                _end_together(tables, call, root, group)
            except audit.Refused as changed:  # one of them, since it was read
                conflict = changed
                refused += group
            else:
                yield from group
        waiting = refused
        if not waiting:
            return
    raise Unavailable from conflict


def _pages(family: Family) -> Iterator[dict[str, Lineage]]:
    """Read the places of the account's unrevoked keys, newest first."""
    before: str | None = None
    more = True
    while more:
        page, more = store.page_unrevoked(
            family.table, family.account_id, before=before, limit=_PAGE
        )
        if not page:
            return
        before = min(page)
        yield page


def _mine(family: Family, key_ids: Collection[str]) -> list[Key]:
    found = store.read_many(family.table, family.account_id, key_ids)
    return [key for key in found if family.may_see(key)]


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


def _end_together(tables: Tables, call: Call, root: Key, keys: Sequence[Key]) -> None:
    """End keys in one transaction, with an event for each and one that lists them.

    Raises Refused, and nothing is done, if one of them changed since it was read.
    """
    planned = [revocation(tables, key, now=call.now, together=keys) for key in keys]
    summary = Change(
        "api_key.revoke_descendants",
        target(root),
        after={"ended": [target(key) for key in keys]},
    )
    expired = [key for key in keys if not counted(key, call.now)]
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
