from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants
from gatehouse.core.unset import UNSET, Unset

MOST_LIVE = 1_000
"""The most live keys of an account. Live: neither revoked nor expired."""

LONGEST_GRACE = 30 * 86_400
"""The longest grace of a rotation, in seconds."""


MOST_PER_MINUTE = 60_000
"""The highest rate limit, in requests."""

LARGEST_METADATA = 4_096
"""The largest metadata, in bytes of compact JSON."""


class KeyStatus(StrEnum):
    """The status of a key as lists show it."""

    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    REVOKED = "revoked"


class KeyFilter(StrEnum):
    """Which keys a list shows."""

    LIVE = "live"  # neither revoked nor expired
    UNREVOKED = "unrevoked"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a key stands below the keys that made it, as ids of two of its ancestors.

    `parent` is the key that created or rotated it, None if no key did. `depth` is how many
    ancestors it has. `jump` is an ancestor further up, which has `jump_depth` ancestors itself, so
    that any ancestor is found in few steps: see `family_rules`.
    """

    parent: str | None = None
    depth: int = 0
    jump: str | None = None
    jump_depth: int = 0


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its account manages it. The text of the key is not stored anywhere.

    `owner` and `created_by` are identity ids; `rate_limit` is requests per minute, None for no
    limit; `revoked_at` lies in the future during the grace of a rotation. `successor` is the id of
    the key that the last rotation with a grace created; that key has this one's as `predecessor`.
    """

    id: str
    account_id: str
    owner: str
    name: str
    prefix: str
    digest: str
    grants: Grants
    created_by: str
    created_at: Micros
    enabled: bool = True
    expires_at: Micros | None = None
    rate_limit: int | None = None
    revoked_at: Micros | None = None
    ended: bool = False  # revoked at once, not in the grace of a rotation
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    place: Lineage = Lineage()
    predecessor: str | None = None
    successor: str | None = None
    wallet: str | None = None  # the address that signed in; successors of such a key have it too
    last_used_at: Micros | None = None  # stored only in the looked-up item

    @property
    def parent(self) -> str | None:
        """The id of the key that created or rotated this one, None if no key did."""
        return self.place.parent


@dataclass(frozen=True, slots=True)
class Succession:
    """What a successor takes over: `tat`, the part of the old key's limit that is used.

    The other fields are the old key and the end of its grace; None for a rotation without one.
    """

    tat: Micros | None = None
    key_id: str | None = None
    digest: str | None = None
    until: Micros | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A checked request for a key. `owner` None means the caller's own identity.

    `parent` is the id of the calling key. `succeeds` is set for a key that a rotation creates.
    """

    name: str
    prefix: str
    grants: Grants
    expires_at: Micros | None
    rate_limit: int | None
    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    wallet: str | None = None
    succeeds: Succession | None = None


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """An unchecked request for a key. Timestamps are parsed already.

    `scopes` None means `default_scopes`; `rate_limit` UNSET means the stack's default, None no
    limit. `field_names` maps our names to the surface's where they differ, for errors.
    """

    name: str
    prefix: str
    default_scopes: tuple[str, ...]
    scopes: Sequence[str] | None = None
    permissions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    expires_at: Micros | None = None
    rate_limit: int | Unset | None = UNSET
    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    field_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyPatch:
    """A change of a key; UNSET fields stay as they are. None clears an expiry or a rate limit."""

    name: str | Unset = UNSET
    enabled: bool | Unset = UNSET
    expires_at: Micros | Unset | None = UNSET
    rate_limit: int | Unset | None = UNSET
    metadata: Mapping[str, Any] | Unset = UNSET


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key and its text, which is shown once."""

    key: Key
    secret: str = field(repr=False)
