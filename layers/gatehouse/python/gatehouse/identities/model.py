from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gatehouse.core.clock import Micros
from gatehouse.core.grants import FULL, Grants


class ClawType(StrEnum):
    """What an identity's membership is for."""

    CENTRAL = "central"
    EMPLOYEE = "employee"
    SERVICE = "service"


class Membership(StrEnum):
    """Whether an identity may act. Only `active` may."""

    INVITED = "invited"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REMOVED = "removed"


class IdentityType(StrEnum):
    """Who stands behind an identity."""

    HUMAN = "human"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Identity:
    """A member of an account. No key of it holds more than `ceiling`.

    `version` goes up with every change; what relies on an identity checks that it still stands
    as it was read. `wallet_address` is the checksummed one that it may sign in with, or None.
    """

    id: str
    account_id: str
    name: str
    type: IdentityType
    is_admin: bool
    claw_type: ClawType
    membership: Membership
    created_at: Micros
    ceiling: Grants = FULL
    version: int = 1
    wallet_address: str | None = None

    @property
    def is_acting_admin(self) -> bool:
        """Tell whether the account can be managed through this identity."""
        return self.is_admin and self.membership is Membership.ACTIVE

    @property
    def standing(self) -> tuple[object, ...]:
        """Give what the identity's keys carry of it, to see whether a change concerns them."""
        return (self.is_admin, self.claw_type, self.membership, self.ceiling)
