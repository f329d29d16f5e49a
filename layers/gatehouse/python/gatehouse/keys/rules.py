"""Bounds, and who may make or change which key. Pure: `now` is an argument."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gatehouse.core.clock import SECOND, Micros, rfc3339
from gatehouse.core.errors import BadInput, FieldRequired, GrantsExceeded
from gatehouse.core.grants import (
    KNOWN_SCOPES,
    MEMORY_OPERATIONS,
    MOST_ENTRIES,
    SIGNAL_TYPES,
    Grants,
    Permissions,
)
from gatehouse.core.principal import Principal
from gatehouse.core.unset import UNSET
from gatehouse.keys.model import Key, Listed, NewKey, Status, Wish

LONGEST_NAME = 200
LONGEST_ENTRY = 64
MOST_PER_MINUTE = 60_000
LONGEST_GRACE = 30 * 86_400  # seconds
LARGEST_METADATA = 4_096  # bytes of compact JSON


def new_key(wish: Wish, *, caller: Principal, default_limit: int, now: Micros) -> NewKey:
    """Check a wish and write its defaults out, so that no reader guesses them later."""
    expires_at_field = wish.spelled.get("expires_at", "expires_at")
    rate_limit_field = wish.spelled.get("rate_limit", "rate_limit")
    scopes = wish.default_scopes if wish.scopes is None else scopes_of(wish.scopes)
    rate_limit = (
        default_rate_limit(default_limit, caller)
        if wish.rate_limit is UNSET
        else rate_limit_of(wish.rate_limit, field=rate_limit_field)
    )
    return NewKey(
        name=name_of(wish.name),
        prefix=wish.prefix,
        grants=Grants(scopes, permissions_of(wish.permissions)),
        expires_at=expiry_of(wish.expires_at, field=expires_at_field, now=now),
        rate_limit=rate_limit,
        owner=wish.owner,
        metadata=metadata_of(wish.metadata),
    )


def changes_of(fields: Mapping[str, Any], *, now: Micros) -> dict[str, Any]:
    """Check what a PATCH brought; a field that is not there stays as it is."""
    checks: dict[str, Callable[[Any], Any]] = {
        "name": name_of,
        "enabled": bool,
        "expires_at": lambda value: expiry_of(value, field="expires_at", now=now),
        "rate_limit": lambda value: rate_limit_of(value, field="rate_limit"),
        "metadata": metadata_of,
    }
    return {name: checks[name](value) for name, value in fields.items()}


def name_of(value: str, *, field: str = "name") -> str:
    """Check a name and trim it."""
    trimmed = value.strip()
    if not trimmed:
        raise FieldRequired(field)
    if len(trimmed) > LONGEST_NAME:
        raise BadInput(f"{field} must be at most {LONGEST_NAME} characters", details=_at(field))
    if not trimmed.isprintable():
        raise BadInput(f"{field} must not hold control characters", details=_at(field))
    return trimmed


def scopes_of(values: Iterable[str], *, field: str = "scopes") -> tuple[str, ...]:
    """Check scopes against those there are, and drop repeats."""
    scopes = _entries(values, field)
    unknown = [scope for scope in scopes if scope not in KNOWN_SCOPES]
    if unknown:
        raise BadInput(
            f"Unknown scope: {', '.join(unknown)}. Allowed: {', '.join(KNOWN_SCOPES)}",
            details=_at(field) | {"unknown": unknown, "allowed": list(KNOWN_SCOPES)},
        )
    return scopes


def permissions_of(lists: Mapping[str, Iterable[str]]) -> Permissions:
    """Check the four lists; signal types and memory operations are closed sets."""
    checked = {name: _entries(values, f"permissions.{name}") for name, values in lists.items()}
    for name, allowed in (("signal_types", SIGNAL_TYPES), ("memory_scopes", MEMORY_OPERATIONS)):
        unknown = [entry for entry in checked.get(name, ()) if entry not in allowed]
        if unknown:
            raise BadInput(
                f"Unknown entry in permissions.{name}: {', '.join(unknown)}."
                f" Allowed: {', '.join(allowed)}",
                details=_at(f"permissions.{name}") | {"unknown": unknown},
            )
    return Permissions.from_dict(checked)


def grants_of(scopes: Iterable[str] | None, permissions: Mapping[str, Iterable[str]]) -> Grants:
    """Check grants as they came; no scopes named means all."""
    return Grants(("*",) if scopes is None else scopes_of(scopes), permissions_of(permissions))


def rate_limit_of(value: int | None, *, field: str) -> int | None:
    """Check requests per minute; None is no limit."""
    if value is not None and not 1 <= value <= MOST_PER_MINUTE:
        raise BadInput(f"{field} must be from 1 to {MOST_PER_MINUTE}", details=_at(field))
    return value


def expiry_of(value: Micros | None, *, field: str, now: Micros) -> Micros | None:
    """Check that an expiry lies ahead; None is no expiry."""
    if value is not None and value <= now:
        raise BadInput(f"{field} must be in the future", details=_at(field))
    return value


def grace_of(seconds: int, *, field: str = "grace_seconds") -> Micros:
    """Check a rotation's grace, given in seconds."""
    if not 0 <= seconds <= LONGEST_GRACE:
        raise BadInput(f"{field} must be from 0 to {LONGEST_GRACE}", details=_at(field))
    return seconds * SECOND


def metadata_of(value: Mapping[str, Any], *, field: str = "metadata") -> dict[str, Any]:
    """Check that metadata is a JSON object of bounded size."""
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if size > LARGEST_METADATA:
        raise BadInput(f"{field} must be at most {LARGEST_METADATA} bytes", details=_at(field))
    return dict(value)


def default_rate_limit(configured: int, caller: Principal) -> int:
    """Choose a limit where none was asked for: the stack's, but not above the caller's own.

    A default is nobody's wish, so this narrows nothing that was asked.
    """
    return configured if caller.rate_limit is None else min(configured, caller.rate_limit)


def check_minting(
    grants: Grants, *, expires_at: Micros | None, rate_limit: int | None, caller: Principal
) -> None:
    """Hold the minting rule: nobody makes, changes or ends what reaches beyond their own key."""
    excess: dict[str, Any] = dict(grants.excess_over(caller.grants))
    later = expires_at is None or (caller.expires_at is not None and expires_at > caller.expires_at)
    if caller.expires_at is not None and later:
        excess["expires_at"] = None if expires_at is None else rfc3339(expires_at)
    higher = rate_limit is None or (
        caller.rate_limit is not None and rate_limit > caller.rate_limit
    )
    if caller.rate_limit is not None and higher:
        excess["rate_limit"] = rate_limit
    if excess:
        raise GrantsExceeded(f"Beyond this key's own grants: {_said(excess)}", details=excess)


def check_ceiling(grants: Grants, ceiling: Grants) -> None:
    """Hold the owner's ceiling."""
    excess = grants.excess_over(ceiling)
    if excess:
        raise GrantsExceeded(f"Beyond the owner's ceiling: {_said(excess)}", details=excess)


def may_see(key: Key, caller: Principal) -> bool:
    """Tell whether a caller may know of a key of its account: an admin of all, others of own."""
    return caller.is_admin or key.owner == caller.identity_id


def is_revoked(key: Key, now: Micros) -> bool:
    """Tell whether the key is over; during a grace it is not yet."""
    return key.revoked_at is not None and key.revoked_at <= now


def is_expired(key: Key, now: Micros) -> bool:
    """Tell whether the key's own expiry has passed."""
    return key.expires_at is not None and key.expires_at <= now


def status(key: Key, now: Micros) -> Status:
    """Say what a list shows."""
    if is_revoked(key, now):
        return Status.REVOKED
    if is_expired(key, now):
        return Status.EXPIRED
    return Status.ACTIVE if key.enabled else Status.DISABLED


def is_listed(key: Key, which: Listed, now: Micros) -> bool:
    """Tell whether a list of this sort shows the key."""
    if which is Listed.ALL:
        return True
    if is_revoked(key, now):
        return False
    return which is Listed.UNREVOKED or not is_expired(key, now)


def end_of_grace(key: Key, grace: Micros, now: Micros) -> Micros:
    """Say when a rotated key ends: never later than it would have anyway."""
    ends = [now + grace]
    ends += [end for end in (key.expires_at, key.revoked_at) if end is not None]
    return min(ends)


def audit_view(key: Key) -> dict[str, Any]:
    """Show a key in an audit event: what it may do, never what it is."""
    return {
        "name": key.name,
        "owner": f"identity:{key.owner}",
        "key_prefix": key.prefix,
        "scopes": list(key.grants.scopes),
        "permissions": key.grants.permissions.to_dict(),
        "enabled": key.enabled,
        "expires_at": None if key.expires_at is None else rfc3339(key.expires_at),
        "rate_limit": key.rate_limit,
        # As text: it may hold fractions, and an event is hashed as it comes back from the table.
        "metadata": json.dumps(key.metadata, sort_keys=True),
        "revoked_at": None if key.revoked_at is None else rfc3339(key.revoked_at),
    }


def _entries(values: Iterable[str], field: str) -> tuple[str, ...]:
    entries = tuple(dict.fromkeys(values))
    if len(entries) > MOST_ENTRIES:
        raise BadInput(f"{field} must have at most {MOST_ENTRIES} entries", details=_at(field))
    for entry in entries:
        if not 0 < len(entry) <= LONGEST_ENTRY or not entry.isprintable():
            raise BadInput(
                f"{field} must have printable entries of 1 to {LONGEST_ENTRY} characters",
                details=_at(field),
            )
    return entries


def _said(excess: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {json.dumps(value)}" for name, value in excess.items())


def _at(field: str) -> dict[str, Any]:
    return {"field": field}
