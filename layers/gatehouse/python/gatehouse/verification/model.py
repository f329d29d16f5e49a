from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatehouse.core.principal import RateLimitState
from gatehouse.credentials.model import Code
from gatehouse.keys.model import Key


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a key, beside whether it lives; None: not asked."""

    scope: str | None = None
    action: str | None = None
    signal_type: str | None = None
    task_type: str | None = None
    ring: str | None = None
    memory_op: str | None = None


class Denial(StrEnum):
    """What is answered of a live key that may not do what was asked."""

    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    FORBIDDEN = "FORBIDDEN"


@dataclass(frozen=True, slots=True)
class Verified:
    """The answer. `key` is None where nothing of it may be told."""

    code: Code | Denial
    key: Key | None = None
    limit_state: RateLimitState | None = None


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Who and what, as it came: one of `identity` and `key_id`, ids with or without their kind."""

    action: str
    identity: str | None = None
    key_id: str | None = None
    resource: Mapping[str, str] = field(default_factory=dict)
