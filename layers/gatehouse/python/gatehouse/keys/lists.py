"""Lists of keys."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo.table import Tables
from gatehouse.keys import rules, store
from gatehouse.keys.model import Key, KeyFilter

# How many keys one call to `page` reads.
_MOST_READ = 1_000


def page(
    tables: Tables,
    call: Call,
    which: KeyFilter,
    *,
    limit: int,
    after: str | None = None,
    newest_first: bool = True,
) -> tuple[list[Key], str | None]:
    """List the keys that the caller may see, and the position of the next page, if any.

    One call reads a bounded number of keys, so a page may have fewer than `limit` entries, even
    none, although there are more.
    """
    caller = call.caller
    owner = None if caller.is_admin else caller.identity_id
    listed: list[Key] = []
    read, more = 0, True
    while more and read < _MOST_READ:
        keys, more = store.page(
            tables.main,
            caller.account_id,
            owner=owner,
            after=after,
            newest_first=newest_first,
            limit=limit + 1,
        )
        for key in keys:
            read += 1
            if rules.is_listed(key, which, call.now):
                if len(listed) == limit:
                    return _with_last_uses(tables, listed), listed[-1].id
                listed.append(key)
            after = key.id
    return _with_last_uses(tables, listed), after if more else None


def _with_last_uses(tables: Tables, keys: list[Key]) -> list[Key]:
    """Add the times of last use, which only the looked-up items have."""
    uses = credentials.last_uses(tables, [key.digest for key in keys]) if keys else {}
    return [replace(key, last_used_at=uses.get(key.digest)) for key in keys]
