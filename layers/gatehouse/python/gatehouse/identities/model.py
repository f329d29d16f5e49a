from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gatehouse.core.clock import Micros, rfc3339
from gatehouse.core.grants import FULL, Grants, Permissions
from gatehouse.core.maker import BOOTSTRAP, Maker
from gatehouse.core.reach import ADMIN, LIVE, NO_REQUESTS, UNRESTRICTED_CLAW, Reach, beyond
from gatehouse.core.unset import UNSET, Unset


class ClawType(StrEnum):
    """What an identity is a member for."""

    CENTRAL = "central"
    EMPLOYEE = "employee"
    SERVICE = "service"


class Membership(StrEnum):
    """Whether an identity may act. Only an active one may."""

    INVITED = "invited"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REMOVED = "removed"


class IdentityType(StrEnum):
    """Whether an identity is a person or an agent."""

    HUMAN = "human"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Identity:
    """A member of an account. None of its keys holds more than `ceiling`.

    Every change increments `version`; a write that depends on an identity has a condition on it.
    `wallet_address` is the address, with EIP-55 checksum, that may sign in; None if none may.
    `maker` is who made the invite that let it in.
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
    maker: Maker = BOOTSTRAP

    @property
    def is_acting_admin(self) -> bool:
        """Whether the identity can manage the account: an admin, active, whose ceiling allows it.

        An account keeps at least one: without, nobody could raise a ceiling again.
        """
        return (
            self.is_admin
            and self.membership is Membership.ACTIVE
            and self.ceiling.opens("admin:manage")
        )

    @property
    def absence(self) -> str | None:
        """Why the identity cannot manage the account, in one word; None if it can."""
        if self.membership is Membership.REMOVED:
            return "removed"
        if self.membership is not Membership.ACTIVE:
            return "suspended"
        return None if self.is_acting_admin else "demoted"

    def absence_for(self, thing: Reach) -> str | None:
        """Why something that it made waits, in one word; None if it goes on.

        It waits while the identity cannot manage the account, or has a ceiling that allows less.
        """
        if self.absence is not None:
            return self.absence
        return "narrowed" if beyond(Reach(self.ceiling, rights=thing.rights), thing) else None

    @property
    def rights(self) -> tuple[object, ...]:
        """The fields on which its keys depend: a change of one is written into every key."""
        return (self.is_admin, self.claw_type, self.membership, self.ceiling)

    def reach(self, rate_limit: int | None = NO_REQUESTS) -> Reach:
        """Return how far the identity reaches: its ceiling without end, as its rank allows.

        An identity sends requests only with its keys. `rate_limit` is the highest of theirs.
        """
        rights = set()
        if self.membership is Membership.ACTIVE:
            rights.add(LIVE)
        if self.is_admin:
            rights.add(ADMIN)
        if self.claw_type is not ClawType.SERVICE:
            rights.add(UNRESTRICTED_CLAW)
        return Reach(self.ceiling, None, rate_limit, frozenset(rights))

    def audit_view(self) -> dict[str, Any]:
        """Return the identity as audit events show it."""
        return {
            "name": self.name,
            "type": self.type.value,
            "is_admin": self.is_admin,
            "claw_type": self.claw_type.value,
            "status": self.membership.value,
            "scopes": list(self.ceiling.scopes),
            "permissions": self.ceiling.permissions.to_dict(),
            "wallet_address": self.wallet_address,
            "created_at": rfc3339(self.created_at),
        }


@dataclass(frozen=True, slots=True)
class IdentityPatch:
    """A change of an identity; UNSET fields stay as they are.

    `claw_type` and `status` are texts from a request and not checked yet. `scopes` and
    `permissions` are the two halves of the ceiling.
    """

    name: str | Unset = UNSET
    is_admin: bool | Unset = UNSET
    claw_type: str | Unset = UNSET
    status: str | Unset = UNSET
    scopes: tuple[str, ...] | Unset = UNSET
    permissions: Permissions | Unset = UNSET
