"""Lists of keys."""

from __future__ import annotations

from dataclasses import replace

from gatehouse.core import settings
from gatehouse.core.clock import Micros
from gatehouse.core.reach import NO_REQUESTS
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import Identity
from gatehouse.keys import rules, store
from gatehouse.keys.model import Key, KeyFilter
from gatehouse.keys.writes import target

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


def list_live_of_others(tables: Tables, maker: Identity, *, now: Micros) -> list[str]:
    """List the ids, `api_key:<id>`, of live keys that an identity created for other members."""
    return [
        target(key)
        for key in store.read_all(tables.main, maker.account_id)
        if key.created_by == maker.id != key.owner and rules.is_listed(key, KeyFilter.LIVE, now)
    ]


def highest_rate_limit(tables: Tables, owner: Identity, *, now: Micros) -> int | None:
    """Return the highest rate limit with which an identity can send requests; None for no limit.

    It is 0 without any key that may still work. A wallet counts as a key with the stack's default,
    which a key of signing in never exceeds.
    """
    limits = [
        key.rate_limit
        for key in store.read_all_of_owner(tables.main, owner.account_id, owner.id)
        if rules.is_listed(key, KeyFilter.LIVE, now)
    ]
    if owner.wallet_address is not None:
        limits.append(settings.DEFAULT_RATE_LIMIT.number())
    known = [limit for limit in limits if limit is not None]
    return None if len(known) < len(limits) else max(known, default=NO_REQUESTS)


def _with_last_uses(tables: Tables, keys: list[Key]) -> list[Key]:
    """Add the times of last use, which only the looked-up items have."""
    uses = credentials.last_uses(tables, [key.digest for key in keys]) if keys else {}
    return [replace(key, last_used_at=uses.get(key.digest)) for key in keys]
