from __future__ import annotations

from dataclasses import dataclass, field

from gatehouse.core.clock import Micros
from gatehouse.core.grants import SIGNAL_TYPES

MOST_PEERS = 100

# What a peer may send: every signal, or signals of some types.
SCOPES = ("signal:*", *(f"signal:{name}" for name in SIGNAL_TYPES))


@dataclass(frozen=True, slots=True)
class Peer:
    """Another instance that may send signals here. The secret shared with it is in the vault."""

    id: str
    account_id: str
    name: str
    endpoint: str
    allowed_scopes: tuple[str, ...]
    expires_at: Micros | None
    created_at: Micros


@dataclass(frozen=True, slots=True)
class Proof:
    """X-Federation-Proof as it came. `timestamp` is milliseconds since the epoch."""

    signature: str
    timestamp: int
    nonce: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """A new peer and the shared secret in its only showing."""

    peer: Peer
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Received:
    """A signal taken in, and a receipt that only holders of the shared secret can write."""

    signal_id: str
    receipt: str
