"""Bounds of a key's fields, and who may create or change which key. Pure: `now` is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gatehouse.core import exact_json, reach
from gatehouse.core.clock import SECOND, Micros, rfc3339
from gatehouse.core.errors import BadInput, FieldRequired
from gatehouse.core.grants import (
    KNOWN_SCOPES,
    MEMORY_OPERATIONS,
    MOST_ENTRIES,
    SIGNAL_TYPES,
    Grants,
    Permissions,
)
from gatehouse.core.nearest import did_you_mean
from gatehouse.core.principal import Principal
from gatehouse.core.reach import LIVE, Reach
from gatehouse.core.text import LONGEST_LABEL, LONGEST_NAME, NOT_PLAIN, is_plain
from gatehouse.core.unset import UNSET
from gatehouse.keys.model import (
    LARGEST_METADATA,
    LONGEST_GRACE,
    MOST_PER_MINUTE,
    Key,
    KeyFilter,
    KeyPatch,
    KeyRequest,
    KeyStatus,
    NewKey,
)


def new_key(request: KeyRequest, *, caller: Principal, default_limit: int, now: Micros) -> NewKey:
    """Check a request and fill in its defaults, so that the stored key is complete."""
    expires_at_field = request.field_names.get("expires_at", "expires_at")
    rate_limit_field = request.field_names.get("rate_limit", "rate_limit")
    scopes = request.default_scopes if request.scopes is None else checked_scopes(request.scopes)
    rate_limit = (
        default_rate_limit(default_limit, caller)
        if request.rate_limit is UNSET
        else checked_rate_limit(request.rate_limit, field=rate_limit_field)
    )
    return NewKey(
        name=checked_name(request.name),
        prefix=request.prefix,
        grants=Grants(scopes, checked_permissions(request.permissions)),
        expires_at=checked_expiry(request.expires_at, field=expires_at_field, now=now),
        rate_limit=rate_limit,
        owner=request.owner,
        metadata=checked_metadata(request.metadata),
        parent=caller.key_id,
    )


def checked_patch(patch: KeyPatch, *, now: Micros) -> KeyPatch:
    """Return the patch with its name trimmed. Raises BadInput or FieldRequired."""
    if patch.expires_at is not UNSET:
        checked_expiry(patch.expires_at, field="expires_at", now=now)
    if patch.rate_limit is not UNSET:
        checked_rate_limit(patch.rate_limit, field="rate_limit")
    if patch.metadata is not UNSET:
        checked_metadata(patch.metadata)
    return patch if patch.name is UNSET else replace(patch, name=checked_name(patch.name))


def patched(key: Key, patch: KeyPatch) -> Key:
    """Return the key after a checked patch."""
    return replace(
        key,
        name=key.name if patch.name is UNSET else patch.name,
        enabled=key.enabled if patch.enabled is UNSET else patch.enabled,
        expires_at=key.expires_at if patch.expires_at is UNSET else patch.expires_at,
        rate_limit=key.rate_limit if patch.rate_limit is UNSET else patch.rate_limit,
        metadata=key.metadata if patch.metadata is UNSET else patch.metadata,
        version=key.version + 1,
    )


def checked_name(value: str, *, field: str = "name") -> str:
    """Return a name without surrounding space. Raises FieldRequired or BadInput."""
    trimmed = value.strip()
    if not trimmed:
        raise FieldRequired(field)
    if len(trimmed) > LONGEST_NAME:
        raise BadInput(f"{field} must have at most {LONGEST_NAME} characters", details=_at(field))
    if not is_plain(trimmed):
        raise BadInput(f"{field} must not have {NOT_PLAIN}", details=_at(field))
    return trimmed


def checked_scopes(values: Iterable[str], *, field: str = "scopes") -> tuple[str, ...]:
    """Return scopes without repeats. Raises BadInput for an unknown one."""
    scopes = _checked_entries(values, field)
    unknown = [scope for scope in scopes if scope not in KNOWN_SCOPES]
    if unknown:
        raise BadInput(
            f"Unknown scope: {', '.join(unknown)}. Allowed: {', '.join(KNOWN_SCOPES)}"
            f"{did_you_mean(unknown[0], KNOWN_SCOPES)}",
            details=_at(field) | {"unknown": unknown, "allowed": list(KNOWN_SCOPES)},
        )
    return scopes


def checked_permissions(lists: Mapping[str, Iterable[str]]) -> Permissions:
    """Return the four lists. Raises BadInput for an unknown signal type or memory operation."""
    checked = {
        name: _checked_entries(values, f"permissions.{name}") for name, values in lists.items()
    }
    for name, allowed in (("signal_types", SIGNAL_TYPES), ("memory_scopes", MEMORY_OPERATIONS)):
        unknown = [entry for entry in checked.get(name, ()) if entry not in allowed]
        if unknown:
            raise BadInput(
                f"Unknown entry in permissions.{name}: {', '.join(unknown)}."
                f" Allowed: {', '.join(allowed)}",
                details=_at(f"permissions.{name}") | {"unknown": unknown},
            )
    return Permissions.from_dict(checked)


def checked_grants(
    scopes: Iterable[str] | None, permissions: Mapping[str, Iterable[str]]
) -> Grants:
    """Return grants from a request; `scopes` None means all. Raises BadInput."""
    return Grants(
        ("*",) if scopes is None else checked_scopes(scopes), checked_permissions(permissions)
    )


def checked_rate_limit(value: int | None, *, field: str) -> int | None:
    """Return requests per minute, None for no limit. Raises BadInput."""
    if value is not None and not 1 <= value <= MOST_PER_MINUTE:
        raise BadInput(f"{field} must be from 1 to {MOST_PER_MINUTE}", details=_at(field))
    return value


def checked_expiry(value: Micros | None, *, field: str, now: Micros) -> Micros | None:
    """Return an expiry, None for none. Raises BadInput if it is not in the future."""
    if value is not None and value <= now:
        raise BadInput(f"{field} must be in the future", details=_at(field))
    return value


def checked_grace(seconds: int, *, field: str = "grace_seconds") -> Micros:
    """Convert a rotation's grace from seconds. Raises BadInput."""
    if not 0 <= seconds <= LONGEST_GRACE:
        raise BadInput(f"{field} must be from 0 to {LONGEST_GRACE}", details=_at(field))
    return seconds * SECOND


def checked_metadata(value: Mapping[str, Any], *, field: str = "metadata") -> dict[str, Any]:
    """Return metadata. Raises BadInput if its JSON is too large."""
    size = len(exact_json.dumps(value).encode())
    if size > LARGEST_METADATA:
        raise BadInput(f"{field} must be at most {LARGEST_METADATA} bytes", details=_at(field))
    return dict(value)


def default_rate_limit(configured: int, caller: Principal) -> int:
    """Return the limit of a key that was requested without one.

    It is the stack's default, or the caller's own limit if that is lower. The request named no
    limit, so this does not narrow anything that was requested.
    """
    return configured if caller.rate_limit is None else min(configured, caller.rate_limit)


def reach_of(key: Key | NewKey) -> Reach:
    """Return how far a key reaches by itself. A disabled one has no rights."""
    enabled = isinstance(key, NewKey) or key.enabled
    rights = frozenset({LIVE}) if enabled else frozenset[str]()
    return Reach(key.grants, key.expires_at, key.rate_limit, rights)


def admission_of(key: Key) -> tuple[object, ...]:
    """Return the fields of a key in its grace that its requests depend on.

    Its limit is not one of them, since such a key spends the requests of its successor.
    """
    return (key.enabled, key.expires_at, key.grants)


def check_ceiling(grants: Grants, ceiling: Grants) -> None:
    """Raise GrantsExceeded if the grants exceed the owner's ceiling."""
    reach.check(Reach(ceiling), Reach(grants), of="the owner's ceiling")


def may_see(key: Key, caller: Principal) -> bool:
    """Check whether a caller may see a key: an admin every one, others those of their identity."""
    return caller.is_admin or key.owner == caller.identity_id


def is_revoked(key: Key, now: Micros) -> bool:
    """Check whether the key is revoked; during the grace of a rotation it is not.

    A key that has ended is revoked whatever `now` is: a request may have begun before the end, or
    on a machine whose clock is slow.
    """
    return key.ended or (key.revoked_at is not None and key.revoked_at <= now)


def is_expired(key: Key, now: Micros) -> bool:
    """Check whether the key's expiry has passed."""
    return key.expires_at is not None and key.expires_at <= now


def status(key: Key, now: Micros) -> KeyStatus:
    """Return the status that lists show."""
    if is_revoked(key, now):
        return KeyStatus.REVOKED
    if is_expired(key, now):
        return KeyStatus.EXPIRED
    return KeyStatus.ACTIVE if key.enabled else KeyStatus.DISABLED


def is_listed(key: Key, which: KeyFilter, now: Micros) -> bool:
    """Check whether a list with this filter shows the key."""
    if which is KeyFilter.ALL:
        return True
    if is_revoked(key, now):
        return False
    return which is KeyFilter.UNREVOKED or not is_expired(key, now)


def end_of_grace(key: Key, grace: Micros, now: Micros) -> Micros:
    """Return when a rotated key ends: after the grace, or earlier if it ends earlier anyway."""
    ends = [now + grace]
    ends += [end for end in (key.expires_at, key.revoked_at) if end is not None]
    return min(ends)


def audit_view(key: Key) -> dict[str, Any]:
    """Return the key as audit events show it, without its text or digest."""
    return {
        "name": key.name,
        "owner": f"identity:{key.owner}",
        "key_prefix": key.prefix,
        "scopes": list(key.grants.scopes),
        "permissions": key.grants.permissions.to_dict(),
        "enabled": key.enabled,
        "expires_at": rfc3339(key.expires_at),
        "rate_limit": key.rate_limit,
        # As text: it may contain fractions, and an event is hashed as the table returns it.
        "metadata": exact_json.dumps(key.metadata, sort_keys=True, ascii_only=True),
        "revoked_at": rfc3339(key.revoked_at),
    }


def _checked_entries(values: Iterable[str], field: str) -> tuple[str, ...]:
    entries = tuple(dict.fromkeys(values))
    if len(entries) > MOST_ENTRIES:
        raise BadInput(f"{field} must have at most {MOST_ENTRIES} entries", details=_at(field))
    for entry in entries:
        if not 0 < len(entry) <= LONGEST_LABEL or not is_plain(entry):
            raise BadInput(
                f"{field} must have printable entries of 1 to {LONGEST_LABEL} characters",
                details=_at(field),
            )
    return entries


def _at(field: str) -> dict[str, Any]:
    return {"field": field}
