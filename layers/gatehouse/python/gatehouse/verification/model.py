from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.principal import RateLimitState
from gatehouse.credentials.model import Code
from gatehouse.keys.model import Key


@dataclass(frozen=True, slots=True)
class KeyQuestion:
    """What a key must allow beside being valid; None: not asked."""

    scope: str | None = None
    action: str | None = None
    signal_type: str | None = None
    task_type: str | None = None
    ring: str | None = None
    memory_op: str | None = None


class Denial(StrEnum):
    """Why a valid key may not do what was asked."""

    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    FORBIDDEN = "FORBIDDEN"


@dataclass(frozen=True, slots=True)
class Verified:
    """The answer about a key. `key` is None if the caller may not learn anything about it."""

    code: Code | Denial
    key: Key | None = None
    limit_state: RateLimitState | None = None


@dataclass(frozen=True, slots=True)
class PolicyQuestion:
    """An unchecked question to the policy. Exactly one of `identity` and `key_id` must be set.

    Both are ids with or without their kind. `resource` has the fields of policy's Resource.
    """

    action: str
    identity: str | None = None
    key_id: str | None = None
    resource: Mapping[str, str] = field(default_factory=dict)
