from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gatehouse.core.clock import HOUR, Micros
from gatehouse.core.grants import Grants
from gatehouse.core.maker import Maker
from gatehouse.identities.model import Identity, IdentityType
from gatehouse.keys.model import Minted

MOST_OPEN = 50
MOST_USES = 1_000
LIFE: Micros = 72 * HOUR
"""How long an invite can be used if its request names no other time."""


@dataclass(frozen=True, slots=True)
class InviteRequest:
    """What a request for an invite asks for, unchecked. `long`: a code of 32 digits, not 8."""

    name: str
    type: str
    scopes: Sequence[str] | None = None
    permissions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    max_uses: int = 1
    expires_at: Micros | None = None
    long: bool = False


@dataclass(frozen=True, slots=True)
class Invite:
    """A code that creates an identity and a key, `max_uses` times, until `expires_at`.

    `grants` is the ceiling of each identity and the grants of its key. `key_expires_at` and
    `rate_limit` bound that key: they are those of the inviter's own key.
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
    created_by_key: str | None = None
    key_expires_at: Micros | None = None
    operator: bool = False
    ended: bool = False  # with the key that made it; `expires_at` is when
    uses: int = 0
    redeemed_by: str | None = None
    redeemed_at: Micros | None = None

    @property
    def maker(self) -> Maker:
        """Who created it."""
        return Maker(self.created_by, self.created_by_key)

    @property
    def is_used_up(self) -> bool:
        """Return whether it was redeemed `max_uses` times."""
        return self.uses >= self.max_uses

    @property
    def ends_at(self) -> Micros:
        """Return when it expires: at its own time, or earlier with the key that it would create."""
        if self.key_expires_at is None:
            return self.expires_at
        return min(self.expires_at, self.key_expires_at)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A new member and their key. The key's secret is shown only here."""

    identity: Identity
    minted: Minted = field(repr=False)
