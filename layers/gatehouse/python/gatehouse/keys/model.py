from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatehouse.core.clock import Micros
from gatehouse.core.grants import Grants
from gatehouse.core.unset import UNSET, Unset

MOST_LIVE = 1_000
"""Keys of an account that are neither revoked nor expired."""


class Status(StrEnum):
    """What a list shows of a key."""

    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Listed(StrEnum):
    """Which keys a list is about."""

    ACTIVE = "active"  # neither revoked nor expired
    UNREVOKED = "unrevoked"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its account owns it. The key itself is not in it, nor anywhere.

    `owner` and `created_by` are identity ids; `rate_limit` is requests per minute or None for
    none; `revoked_at` may lie ahead while a rotated key lives on for its grace.
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
    metadata: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    last_used_at: Micros | None = None  # read from the looked-up item, stored only there


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a caller asks for. `prefix` is the surface's; `owner` None is the caller itself."""

    name: str
    prefix: str
    grants: Grants
    expires_at: Micros | None
    rate_limit: int | None
    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for a key as it came, unchecked. Timestamps are moments already.

    `scopes` None takes `default_scopes`; `rate_limit` UNSET takes the stack's default and None
    means no limit. `spelled` maps our field names to the surface's, for errors.
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
    spelled: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key and its only showing."""

    key: Key
    secret: str = field(repr=False)
