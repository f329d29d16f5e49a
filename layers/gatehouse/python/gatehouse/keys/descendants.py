"""Descendants of a key: the keys whose chain of parents leads to it.

A key creates no key after its own end, since both are transactions with a condition on it. So
descendants are ended from the top: once a key has ended, the list of its children is complete.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from gatehouse.audit import actions as audit
from gatehouse.audit import endings
from gatehouse.audit.model import Change, Origin
from gatehouse.core.errors import Unavailable
from gatehouse.core.request import Call
from gatehouse.core.retry import Backoff
from gatehouse.dynamo.table import Table, Tables, TransactionConflict
from gatehouse.keys import actions, rules, store
from gatehouse.keys.model import Key, KeyFilter
from gatehouse.keys.writes import counted, revocation, target

# How many descendants are looked at to count the live ones.
MOST_COUNTED = 1_000
# Keys that one transaction ends; each has up to three writes.
_TOGETHER = 10
# What its marker may have of changes, in bytes; an item of DynamoDB has at most 400 KB.
_LARGEST_TOGETHER = 250_000
# Each try reads anew.
_ON_CHANGE = Backoff(attempts=6)


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
    """Count the descendants that are neither revoked nor expired, among the first 1,000."""
    found = itertools.islice(_walk(tables.main, call.caller.account_id, key_id), MOST_COUNTED)
    return sum(
        rules.is_listed(key, KeyFilter.LIVE, call.now) and rules.may_see(key, call.caller)
        for key in found
    )


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
    ended: list[Key] = []
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


def _walk(table: Table, account_id: str, key_id: str) -> Iterator[Key]:
    waiting = [key_id]
    while waiting:
        children = store.read_children(table, account_id, waiting.pop(0))
        yield from children
        waiting += [child.id for child in children]


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
