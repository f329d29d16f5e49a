from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

# The value of `wrapped_by` for the stack's KMS key. Items store it as a missing attribute.
KMS = "kms"

# The account id of secrets that belong to the stack and not to an account.
STACK = "stack"


class Purpose(StrEnum):
    """What a secret is for. IAM lets each function decrypt only the purposes it needs."""

    PEER = "peer"  # shared with another instance
    NONCE = "nonce"  # signs the nonces of wallet sign-in
    SERVICE = "service"  # signs the requests of a service's restart hook
    WEBHOOK = "webhook"  # signs deliveries; also holds the values of a webhook's custom headers
    PROVIDER = "provider"  # an account's key of a provider, named as the provider
    TRANSCRIPTION = "transcription"  # an account's key for transcription


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret belongs. KMS and the cipher both refuse to decrypt it for another place.

    `origin` is the scheme, host and port to which alone the secret may be sent, as `origin_of` of
    outbound returns it; None for a secret that is bound to no destination.
    """

    purpose: Purpose
    account_id: str
    name: str
    origin: str | None = None

    def context(self) -> dict[str, str]:
        """Return KMS's encryption context. The cipher authenticates the same fields."""
        context = {"purpose": self.purpose.value, "account": self.account_id, "name": self.name}
        return context if self.origin is None else context | {"origin": self.origin}


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret. To decrypt it, one needs the key that wrapped its data key.

    `wrapped_by` is `kms`, or the id of a settings key.
    """

    ciphertext: bytes
    nonce: bytes
    wrapped_key: bytes = field(repr=False)
    wrapped_by: str = KMS


class Sealer(Protocol):
    """Encrypts a secret for its place. `actions.Vault` implements it."""

    def seal(self, place: Place, plaintext: str) -> Sealed:
        """Encrypt a secret. Raises Unavailable or SettingsKeyUnusable."""
        ...


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """The wrapped data key of a stored secret.

    `place` is None where this version does not know the purpose; `path` names the secret always.
    """

    place: Place | None
    path: str
    wrapped_key: bytes = field(repr=False)
    wrapped_by: str = KMS


@dataclass(frozen=True, slots=True)
class RewrapStep:
    """The result of one step of a rewrap.

    `left` counts the secrets that no key could unwrap. `cursor` is for the next step, None at
    the end of a pass. `done`: the pass found nothing to rewrap, so the previous key is not needed
    any more.
    """

    rewrapped: int
    left: int
    cursor: str | None
    done: bool


@dataclass(frozen=True, slots=True)
class SettingsKey:
    """A key from the environment that wraps data keys instead of KMS.

    `id` is stored with what the key wraps. The key cannot be computed from it.
    """

    id: str
    wrapping: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WrappingState:
    """What an instance stores about its settings keys.

    `wrapped_by` is the key that wraps stored secrets, or may still wrap some until a rewrap is
    done. `salt` stretches keys that are texts; None until a text is set for the first time.
    """

    wrapped_by: str = KMS
    salt: bytes | None = None
