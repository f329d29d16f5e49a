"""Which changes of an identity are allowed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants
from gatehouse.core.unset import UNSET
from gatehouse.identities.model import ClawType, Identity, IdentityPatch, Membership

Member = TypeVar("Member", bound=StrEnum)

# `invited` is missing: only an invite creates that status, a PATCH cannot set it.
_SETTABLE = (Membership.ACTIVE, Membership.SUSPENDED, Membership.REMOVED)


def patched(identity: Identity, patch: IdentityPatch) -> Identity:
    """Return the identity after a patch. Raises BadInput for an unknown claw type or status."""
    changes: dict[str, Any] = {}
    if patch.name is not UNSET:
        changes["name"] = patch.name
    if patch.is_admin is not UNSET:
        changes["is_admin"] = patch.is_admin
    if patch.claw_type is not UNSET:
        changes["claw_type"] = _one_of(ClawType, patch.claw_type, field="claw_type")
    if patch.status is not UNSET:
        changes["membership"] = _one_of(_SETTABLE, patch.status, field="status")
    ceiling = identity.ceiling
    scopes = ceiling.scopes if patch.scopes is UNSET else patch.scopes
    permissions = ceiling.permissions if patch.permissions is UNSET else patch.permissions
    return replace(
        identity,
        **changes,
        ceiling=Grants(scopes, permissions),
        version=identity.version + 1,
    )


def _one_of(allowed: Iterable[Member], value: str, *, field: str) -> Member:
    by_value = {member.value: member for member in allowed}
    if value not in by_value:
        raise BadInput(f"{field} must be one of {', '.join(by_value)}", details={"field": field})
    return by_value[value]
