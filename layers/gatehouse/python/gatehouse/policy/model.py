from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatehouse.core.grants import Grants

MANAGE = "admin:manage"

# In a resource: it names none of this kind. No entry of a list is empty, so a restricted list
# leaves it out.
UNNAMED = ""

ACTIONS = (
    "signal:emit",
    "signal:inspect",
    "task:claim",
    "task:ack",
    "task:cancel",
    "task:complete",
    "memory:read",
    "memory:write",
    "memory:delete",
    "memory:search",
    "memory:export",
    "discovery:query",
    "federation:deliver",
    "federation:claim",
    "federation:ack",
    "federation:cancel",
    MANAGE,
)


class Rule(StrEnum):
    """What can decide, in the order in which it is asked."""

    KEY_SCOPE = "key_scope"
    ADMIN_BYPASS = "admin_bypass"
    MEMBERSHIP_REQUIRED = "membership_required"
    SERVICE_CLAW_RESTRICTION = "service_claw_restriction"
    ADMIN_ACTION_RESTRICTION = "admin_action_restriction"
    DEFAULT_ALLOW = "default_allow"


@dataclass(frozen=True, slots=True)
class Described:
    """A rule as GET /admin/policy tells it. `effect` is allow or deny."""

    name: str
    order: int
    effect: str
    description: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Who wants to act. `grants` None: asked of an identity, without any key."""

    grants: Grants | None
    is_admin: bool
    claw_type: str
    membership: str


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on, as far as permissions speak of it.

    None: not asked, so not judged. UNNAMED: it has none, which only an unrestricted key may.
    """

    signal_type: str | None = None
    task_type: str | None = None
    ring: str | None = None
    memory_op: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, the rule that decided, why, and the least change that would allow.

    `would_allow` is empty when allowed. Else it may hold: `scopes` and `permissions` (entries to
    add to the key), `status`, `claw_type`, `is_admin` (values to give the identity).
    """

    allowed: bool
    rule: Rule
    reasons: tuple[str, ...]
    would_allow: Mapping[str, Any] = field(default_factory=dict)
