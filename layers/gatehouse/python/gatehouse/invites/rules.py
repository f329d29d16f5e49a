"""Codes, bounds, and the budget of wrong codes. Pure."""

from __future__ import annotations

import re
from typing import Any

from gatehouse.core.clock import HOUR, MINUTE, Micros, rfc3339
from gatehouse.core.errors import BadInput, Conflict, GatehouseError, Gone
from gatehouse.core.reach import Reach
from gatehouse.identities.model import IdentityType
from gatehouse.invites.model import LIFE, MOST_USES, Invite

LONGEST_LIFE: Micros = 365 * 24 * HOUR
SHORT_BYTES = 4
LONG_BYTES = 16

# A short code has only 32 bits, so wrong ones are limited: how many, in which time.
WRONG_PER_ADDRESS = (5, 10 * MINUTE)
WRONG_IN_ALL = (60, HOUR)

_CODE = re.compile(r"[0-9a-f]{8}|[0-9a-f]{32}", re.ASCII)


def parse_code(text: str) -> str | None:
    """Read a code as a person typed it; None where it cannot be one."""
    code = text.strip().lower()
    return code if _CODE.fullmatch(code) else None


def is_short(code: str) -> bool:
    """Return whether the code is short enough to be guessed."""
    return len(code) == 2 * SHORT_BYTES


def check_type(text: str) -> IdentityType:
    """Check the type of a new member. Raises BadInput."""
    if text not in set(IdentityType):
        raise BadInput("type must be human or agent", details={"field": "type"})
    return IdentityType(text)


def check_max_uses(value: int) -> int:
    """Check how often an invite may be redeemed. Raises BadInput."""
    if not 1 <= value <= MOST_USES:
        raise BadInput(f"max_uses must be from 1 to {MOST_USES}", details={"field": "max_uses"})
    return value


def check_expiry(value: Micros | None, now: Micros) -> Micros:
    """Check an expiry; None means LIFE from now. Raises BadInput."""
    if value is None:
        return now + LIFE
    if not now < value <= now + LONGEST_LIFE:
        raise BadInput(
            "expires_at must be in the future, at most a year ahead",
            details={"field": "expires_at"},
        )
    return value


def is_open(invite: Invite, now: Micros) -> bool:
    """Return whether the invite can be redeemed.

    One that was ended cannot, whatever `now` is: a request may have begun before that.
    """
    return not invite.ended and not invite.is_used_up and invite.ends_at > now


def refusal(invite: Invite, now: Micros) -> GatehouseError | None:
    """Return the error why an invite cannot be redeemed, None where it can."""
    if invite.is_used_up:
        return Conflict("The invite was already redeemed", code="INVITE_ALREADY_REDEEMED")
    if invite.ended or invite.ends_at <= now:
        return Gone("The invite has expired", code="INVITE_EXPIRED")
    return None


def reach_of(invite: Invite) -> Reach:
    """Return how far the key reaches that redeeming the invite creates."""
    return Reach(invite.grants, invite.key_expires_at, invite.rate_limit)


def audit_view(invite: Invite) -> dict[str, Any]:
    """Show an invite in an audit event, without its code, which works like a password."""
    return {
        "name": invite.name,
        "type": invite.type.value,
        "scopes": list(invite.grants.scopes),
        "permissions": invite.grants.permissions.to_dict(),
        "max_uses": invite.max_uses,
        "uses": invite.uses,
        "expires_at": rfc3339(invite.expires_at),
        "created_by": invite.created_by,
        "created_by_key": invite.created_by_key,
    }
