"""How far a caller reaches, and what exceeds it. Pure.

Everything that acts, receives or lets somebody in later is described as the reach that it has by
itself: a key, an invite, an identity, a wallet, a peer, a webhook, a restart hook. The caller that
creates it must have at least this reach. `docs/decisions/0011` has a table of the kinds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.errors import GrantsExceeded
from gatehouse.core.grants import Grants, Permissions
from gatehouse.core.principal import Principal

LISTS = tuple(part.name for part in fields(Permissions))

NO_REQUESTS = 0
"""The rate limit of something that receives, but never sends a request to this API."""

# What the policy's rules look at. A reach has those of these three that it may use.
LIVE = "active"  # it works: it is not suspended, disabled or paused
ADMIN = "is_admin"
UNRESTRICTED_CLAW = "claw_type"  # set unless the claw type is `service`
_SERVICE = "service"

Excess = dict[str, Any]
"""What exceeds a reach, by field, as `details` of the error shows it; empty if nothing does."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a request names a permission list, and what stands before each entry there."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """What a caller, or a thing that was left behind, may do by itself, how often, until when.

    `expires_at` is None for no end; `rate_limit` is in requests per minute, None for no limit.
    `concerns` names the permission lists that restrict it: a webhook has no memory operations, so
    `memory_scopes` does not concern it. `shown` maps a list's name to the request's field.
    """

    grants: Grants
    expires_at: Micros | None = None
    rate_limit: int | None = None
    rights: frozenset[str] = frozenset({LIVE})
    concerns: tuple[str, ...] = LISTS
    shown: Mapping[str, Shown] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, caller: Principal) -> Self:
        """Return a caller's reach. A caller is live: the authorizer refuses every other."""
        rights = {LIVE}
        if caller.is_admin:
            rights.add(ADMIN)
        if caller.is_admin or caller.claw_type != _SERVICE:
            rights.add(UNRESTRICTED_CLAW)
        return cls(caller.grants, caller.expires_at, caller.rate_limit, frozenset(rights))


def beyond(reach: Reach, thing: Reach) -> Excess:
    """Return what `thing` has and `reach` has not, by the request's field; empty if nothing.

    `["*"]` stands for a list that is unrestricted in `thing` only.
    """
    excess: Excess = {}
    for name, entries in thing.grants.excess_over(reach.grants).items():
        if name in LISTS and name not in thing.concerns:
            continue
        shown = thing.shown.get(name, Shown(name))
        excess[shown.name] = [shown.prefix + entry for entry in entries]
    if _is_more(thing.expires_at, than=reach.expires_at):
        excess["expires_at"] = rfc3339(thing.expires_at)
    if _is_more(thing.rate_limit, than=reach.rate_limit):
        excess["rate_limit"] = thing.rate_limit
    excess |= dict.fromkeys(sorted(thing.rights - reach.rights), True)
    return excess


def check(reach: Reach, thing: Reach, *, of: str = "this key's own grants") -> None:
    """Raise GrantsExceeded that names the excess, if `thing` reaches further than `reach`.

    `of` says in the message what was exceeded.
    """
    _refuse(beyond(reach, thing), of=of)


def narrows(before: Reach, after: Reach) -> bool:
    """Return whether a change only narrows a thing or ends it."""
    return after != before and not beyond(before, after)


def check_change(reach: Reach, before: Reach, after: Reach, *, alone: bool = True) -> None:
    """Raise GrantsExceeded unless `reach` covers a thing before and after its change.

    A change that only narrows the thing or ends it is always allowed, if it is `alone`: nothing
    else of the thing changes with it. One that leaves its reach as it is, such as another name,
    needs it to be covered.
    """
    if alone and narrows(before, after):
        return
    _refuse(beyond(reach, before) | beyond(reach, after))


def _refuse(excess: Excess, *, of: str = "this key's own grants") -> None:
    if excess:
        listed = "; ".join(f"{name}: {json.dumps(value)}" for name, value in excess.items())
        raise GrantsExceeded(f"Beyond {of}: {listed}", details=excess)


def _is_more(value: int | None, *, than: int | None) -> bool:
    """Return whether a bound is wider; None is no bound."""
    return than is not None and (value is None or value > than)
