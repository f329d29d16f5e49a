from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.clock import Micros
from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.core.maker import Maker

MOST_PEERS = 100

# The scopes of a peer: every signal, or signals of one type.
SCOPES = ("signal:*", *(f"signal:{name}" for name in SIGNAL_TYPES))


class PeerStatus(StrEnum):
    """Whether a peer may send signals."""

    ACTIVE = "active"
    EXPIRED = "expired"
    WAITING = "waiting"  # the admin who trusted it is suspended, removed, demoted or narrowed


@dataclass(frozen=True, slots=True)
class Peer:
    """Another instance that may send signals here. Its shared secret is stored encrypted.

    `rate_limit` is in signals per minute. `tat` and `next_at` are the state of that limit, as of a
    key's: when everything that was sent is used up, None before the first signal, and from when the
    next signal is accepted.
    """

    id: str
    account_id: str
    name: str
    endpoint: str
    allowed_scopes: tuple[str, ...]
    expires_at: Micros | None
    created_at: Micros
    rate_limit: int
    maker: Maker
    tat: Micros | None = None
    next_at: Micros = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """The header X-Federation-Proof, unchecked. `timestamp` is in milliseconds since the epoch."""

    signature: str
    timestamp: int
    nonce: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """A new peer and the shared secret, which is shown only here."""

    peer: Peer
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Received:
    """The id of an accepted signal, and a receipt signed with the shared secret."""

    signal_id: str
    receipt: str
