"""What of an identity may be changed to what. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatehouse.core.clock import rfc3339
from gatehouse.core.errors import BadInput
from gatehouse.core.grants import Grants
from gatehouse.identities.model import ClawType, Identity, Membership

# Nobody is invited by a PATCH: an invite does that.
_SETTABLE = (Membership.ACTIVE, Membership.SUSPENDED, Membership.REMOVED)


def changed(identity: Identity, fields: Mapping[str, Any]) -> Identity:
    """Give the identity as it will be.

    `fields`: name, is_admin, claw_type, status, and ceiling or its halves, scopes and permissions,
    of which the one that is not named stays.
    """
    wanted = dict(fields)
    if "scopes" in wanted or "permissions" in wanted:
        wanted["ceiling"] = Grants(
            wanted.pop("scopes", identity.ceiling.scopes),
            wanted.pop("permissions", identity.ceiling.permissions),
        )
    if "claw_type" in wanted:
        wanted["claw_type"] = _one_of(ClawType, tuple(ClawType), wanted["claw_type"], "claw_type")
    if "status" in wanted:
        wanted["membership"] = _one_of(Membership, _SETTABLE, wanted.pop("status"), "status")
    return replace(identity, **wanted, version=identity.version + 1)


def audit_view(identity: Identity) -> dict[str, Any]:
    """Show an identity in an audit event."""
    return {
        "name": identity.name,
        "type": identity.type.value,
        "is_admin": identity.is_admin,
        "claw_type": identity.claw_type.value,
        "status": identity.membership.value,
        "scopes": list(identity.ceiling.scopes),
        "permissions": identity.ceiling.permissions.to_dict(),
        "wallet_address": identity.wallet_address,
        "created_at": rfc3339(identity.created_at),
    }


def _one_of(kind: Any, allowed: tuple[Any, ...], value: str, field: str) -> Any:
    if value not in {entry.value for entry in allowed}:
        said = ", ".join(entry.value for entry in allowed)
        raise BadInput(f"{field} must be one of {said}", details={"field": field})
    return kind(value)
