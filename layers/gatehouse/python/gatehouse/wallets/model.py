from __future__ import annotations

from dataclasses import dataclass, field

from gatehouse.core.clock import Micros
from gatehouse.core.maker import BOOTSTRAP, Maker
from gatehouse.identities.model import Identity
from gatehouse.keys.model import Minted

LONGEST_MESSAGE = 2_000  # characters of a message to sign, an EIP-4361 text
LONGEST_SIGNATURE = 512


@dataclass(frozen=True, slots=True)
class Signed:
    """A sign-in message whose signature, domain, chain and times were checked.

    `uris` are its URI and, if it names a scheme, its domain with that scheme.
    """

    address: str  # EIP-55 checksummed
    nonce: str
    uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wallet:
    """The identity that a wallet belongs to, and the id of its last sign-in key.

    `expires_at` and `rate_limit` are those of the key with which the wallet was bound, None for
    no bound. Keys from signing in never exceed them. `maker` is who attached it or, if an invite
    was redeemed with it, who made the invite.
    """

    address: str
    account_id: str
    identity_id: str
    sign_in_key: str | None = None
    expires_at: Micros | None = None
    rate_limit: int | None = None
    maker: Maker = BOOTSTRAP


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An identity and its key for a day. The key's secret is shown only here."""

    identity: Identity
    minted: Minted = field(repr=False)
