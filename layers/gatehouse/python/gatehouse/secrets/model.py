from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

# What `wrapped_by` says where the stack's KMS key wraps; stored as nothing at all.
KMS = "kms"

# Whose secrets are the stack's own rather than one account's.
STACK = "stack"


class Purpose(StrEnum):
    """What a secret is for. Each function may decrypt its own purposes only."""

    PEER = "peer"  # shared with another instance
    NONCE = "nonce"  # signs the nonces of wallet sign-in
    SERVICE = "service"  # signs the calls of a service's restart hook
    WEBHOOK = "webhook"  # signs deliveries, beside the values of a webhook's own headers
    PROVIDER = "provider"  # an account's key of a provider, by the provider's name
    TRANSCRIPTION = "transcription"  # the key for transcription


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret belongs. KMS and the cipher both refuse it anywhere else."""

    purpose: Purpose
    account_id: str
    name: str

    def context(self) -> dict[str, str]:
        """Give KMS's encryption context, which is also what the cipher authenticates."""
        return {"purpose": self.purpose.value, "account": self.account_id, "name": self.name}


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret: nothing in it opens it without what wrapped its data key.

    `wrapped_by` is `kms`, or the id of a settings key.
    """

    ciphertext: bytes
    nonce: bytes
    wrapped_key: bytes = field(repr=False)
    wrapped_by: str = KMS


class Sealer(Protocol):
    """What encrypts a secret for its place; `actions.Vault` is the one."""

    def seal(self, place: Place, plaintext: str) -> Sealed:
        """Encrypt a secret. Raises Unavailable or SettingsKeyUnusable."""
        ...


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A secret's place and its wrapped data key.

    `place` is None where this version does not know the purpose, `path` names it then too.
    """

    place: Place | None
    path: str
    wrapped_key: bytes = field(repr=False)
    wrapped_by: str = KMS


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a rewrap did.

    `left` are those that no key opened. `cursor` is where to go on, None at the end of a pass.
    `done`: the pass found nothing to do, so that no other key is needed any more.
    """

    rewrapped: int
    left: int
    cursor: str | None
    done: bool


@dataclass(frozen=True, slots=True)
class SettingsKey:
    """A key out of the environment that wraps data keys in KMS's place.

    `id` is stored with what it wraps: made from the key, and no way back to it.
    """

    id: str
    wrapping: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What an instance remembers of its settings keys.

    `by` wraps, or until a rewrap is through may still wrap, what is stored. `salt` stretches keys
    that are texts; None while there was none.
    """

    by: str = KMS
    salt: bytes | None = None
