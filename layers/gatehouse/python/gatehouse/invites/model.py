from __future__ import annotations

from dataclasses import dataclass, field

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants
from gatehouse.identities.model import Identity, IdentityType
from gatehouse.keys.model import Minted

MOST_OPEN = 50


@dataclass(frozen=True, slots=True)
class Invite:
    """A way in for `max_uses` people or agents, until `expires_at`.

    `grants` is the ceiling of the identity and the grants of the key that redeeming makes.
    `key_expires_at` and `rate_limit` bound that key by its inviter's own.
    """

    id: str
    account_id: str
    code: str
    name: str
    type: IdentityType
    grants: Grants
    max_uses: int
    expires_at: Micros
    created_by: str
    created_at: Micros
    rate_limit: int | None
    key_expires_at: Micros | None = None
    operator: bool = False
    uses: int = 0
    redeemed_by: str | None = None
    redeemed_at: Micros | None = None

    @property
    def is_used_up(self) -> bool:
        """Tell whether nobody can redeem it any more, whatever the time."""
        return self.uses >= self.max_uses

    @property
    def ends_at(self) -> Micros:
        """Give the moment it is over: its own, or the one that ends the key it would make."""
        if self.key_expires_at is None:
            return self.expires_at
        return min(self.expires_at, self.key_expires_at)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A new member and their key in its only showing."""

    identity: Identity
    minted: Minted = field(repr=False)
