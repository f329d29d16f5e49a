from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gatehouse.core.grants import Grants

MANAGE = "admin:manage"

# The value of a resource's field that has no name, for example a signal to no ring. No entry of a
# permission list is empty, so a restricted list never contains it.
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
    """The rules, in the order of evaluation."""

    KEY_SCOPE = "key_scope"
    ADMIN_BYPASS = "admin_bypass"
    MEMBERSHIP_REQUIRED = "membership_required"
    SERVICE_CLAW_RESTRICTION = "service_claw_restriction"
    ADMIN_ACTION_RESTRICTION = "admin_action_restriction"
    DEFAULT_ALLOW = "default_allow"


@dataclass(frozen=True, slots=True)
class RuleDescription:
    """A rule as GET /admin/policy shows it. `effect` is allow or deny."""

    name: str
    order: int
    effect: str
    description: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Who wants to act. `grants` None: the question is about an identity, without a key."""

    grants: Grants | None
    is_admin: bool
    claw_type: str
    membership: str


@dataclass(frozen=True, slots=True)
class Resource:
    """The object of an action, as far as permission lists concern it.

    None: not asked, so every key may. UNNAMED: it has no name, so only an unrestricted key may.
    """

    signal_type: str | None = None
    task_type: str | None = None
    ring: str | None = None
    memory_op: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, the rule that decided, the reasons, and the smallest change that would allow it.

    `would_allow` is empty if allowed. Otherwise it may have `scopes` and `permissions` (entries to
    add to the key), and `status`, `claw_type` and `is_admin` (new values for the identity).
    """

    allowed: bool
    rule: Rule
    reasons: tuple[str, ...]
    would_allow: Mapping[str, Any] = field(default_factory=dict)
