from __future__ import annotations

from dataclasses import dataclass, field

from gatehouse.core.clock import Micros
from gatehouse.identities.model import Identity
from gatehouse.keys.model import Minted


@dataclass(frozen=True, slots=True)
class Signed:
    """A sign-in message whose signature and facts were checked: who signed, with which nonce."""

    address: str  # EIP-55 checksummed
    nonce: str


@dataclass(frozen=True, slots=True)
class Wallet:
    """Whose wallet an address is, and the key its last sign-in made.

    `expires_at` and `rate_limit` are those of the key that brought the wallet, where it had any:
    what signing in gives never goes beyond them.
    """

    address: str
    account_id: str
    identity_id: str
    sign_in_key: str | None = None
    expires_at: Micros | None = None
    rate_limit: int | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An identity and its key for a day, in its only showing."""

    identity: Identity
    minted: Minted = field(repr=False)
