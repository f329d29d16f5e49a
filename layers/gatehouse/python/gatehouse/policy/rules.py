"""The evaluation of the policy. Pure: everything about the subject is in the arguments.

The key's grants come first, since they restrict an admin's key too. Then come the five rules; the
first one that applies decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gatehouse.core.grants import Grants, Permissions
from gatehouse.policy.model import (
    MANAGE,
    UNNAMED,
    Decision,
    Resource,
    Rule,
    RuleDescription,
    Subject,
)

RULES = (
    RuleDescription(
        Rule.ADMIN_BYPASS.value, 1, "allow", "An admin of the account may do everything."
    ),
    RuleDescription(
        Rule.MEMBERSHIP_REQUIRED.value, 2, "deny", "An identity that is not active may do nothing."
    ),
    RuleDescription(
        Rule.SERVICE_CLAW_RESTRICTION.value,
        3,
        "deny",
        "A service may not manage, delete or export memory, or take part in federation.",
    ),
    RuleDescription(Rule.ADMIN_ACTION_RESTRICTION.value, 4, "deny", "Only an admin may manage."),
    RuleDescription(
        Rule.DEFAULT_ALLOW.value,
        5,
        "allow",
        "An active identity may do everything that no rule denies.",
    ),
)

_READS = ("signal:inspect", "discovery:query", "memory:read", "memory:search", "memory:export")
MEMORY_ACTIONS = {
    "store": "memory:write",
    "update": "memory:write",
    "relate": "memory:write",
    "list": "memory:read",
    "recall": "memory:read",
    "graph": "memory:read",
    "query": "memory:search",
    "forget": "memory:delete",
}


def scope_for(action: str) -> str:
    """Return the scope that an action needs."""
    if action == MANAGE or action.startswith("federation:"):
        return MANAGE
    return "agents:read" if action in _READS else "agents:write"


def missing_permissions(grants: Grants, resource: Resource) -> dict[str, list[str]]:
    """Return the parts of a resource that the permission lists do not contain, by list.

    An empty list restricts nothing. `["*"]`: the list would have to be unrestricted.
    """
    asked = {
        "signal_types": resource.signal_type,
        "task_types": resource.task_type,
        "ring_scopes": resource.ring,
        "memory_scopes": resource.memory_op,
    }
    missing = {}
    for name, value in asked.items():
        allowed: tuple[str, ...] = getattr(grants.permissions, name)
        if value is not None and allowed and value not in allowed:
            missing[name] = ["*"] if value == UNNAMED else [value]
    return missing


def evaluate(action: str, subject: Subject, resource: Resource) -> Decision:
    """Decide, and for a denial add the smallest change that would allow the action."""
    decision = _decide(action, subject, resource)
    if decision.allowed:
        return decision
    return replace(decision, would_allow=_least_change(action, subject, resource))


def _decide(action: str, subject: Subject, resource: Resource) -> Decision:
    reasons = _key_reasons(action, subject.grants, resource)
    if reasons:
        return Decision(allowed=False, rule=Rule.KEY_SCOPE, reasons=reasons)
    if subject.is_admin:
        return _allow(Rule.ADMIN_BYPASS, "the identity is an admin")
    if subject.membership != "active":
        return _deny(Rule.MEMBERSHIP_REQUIRED, f"the membership is {subject.membership}")
    if subject.claw_type == "service" and _closed_to_services(action):
        return _deny(Rule.SERVICE_CLAW_RESTRICTION, f"claw type service may not {action}")
    if action == MANAGE:
        return _deny(Rule.ADMIN_ACTION_RESTRICTION, "the identity is not an admin")
    return _allow(Rule.DEFAULT_ALLOW, "no rule denies it")


def _key_reasons(action: str, grants: Grants | None, resource: Resource) -> tuple[str, ...]:
    if grants is None:
        return ()
    reasons = []
    scope = scope_for(action)
    if not grants.opens(scope):
        reasons.append(f"the key lacks the scope {scope}")
    reasons += [
        _missing_reason(name, values) for name, values in _missing(action, grants, resource).items()
    ]
    return tuple(reasons)


def _missing_reason(name: str, values: list[str]) -> str:
    if values == ["*"]:
        return f"the key's {name} are restricted, and the request names none of them"
    return f"the key's {name} do not include {', '.join(values)}"


def _missing(action: str, grants: Grants, resource: Resource) -> dict[str, list[str]]:
    """Return what the permission lists lack for an action on a resource.

    A memory action without a named operation needs at least one of its operations.
    """
    missing = missing_permissions(grants, resource)
    allowed = grants.permissions.memory_scopes
    if action.startswith("memory:") and resource.memory_op is None and allowed:
        operations = [op for op, opened in MEMORY_ACTIONS.items() if opened == action]
        if not any(op in allowed for op in operations):
            # Export has no operation of its own: it reads everything, so it needs an
            # unrestricted list.
            missing["memory_scopes"] = operations[:1] or ["*"]
    return missing


def _closed_to_services(action: str) -> bool:
    return action in {MANAGE, "memory:delete", "memory:export"} or action.startswith("federation:")


def _least_change(action: str, subject: Subject, resource: Resource) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if subject.grants is not None:
        scope = scope_for(action)
        if not subject.grants.opens(scope):
            change["scopes"] = [scope]
        missing = _missing(action, subject.grants, resource)
        if missing:
            change["permissions"] = missing
    if subject.is_admin:
        return change
    if action == MANAGE:
        return change | {"is_admin": True}
    if subject.membership != "active":
        change["status"] = "active"
    if subject.claw_type == "service" and _closed_to_services(action):
        change["claw_type"] = "employee"
    return change


def apply(subject: Subject, change: dict[str, Any]) -> Subject:
    """Return the subject after the change that a `would_allow` describes."""
    grants = subject.grants
    if grants is not None:
        lists = grants.permissions.to_dict()
        for name, values in change.get("permissions", {}).items():
            lists[name] = [] if values == ["*"] else [*lists[name], *values]
        scopes = (*grants.scopes, *change.get("scopes", ()))
        grants = Grants(scopes, Permissions.from_dict(lists))
    return Subject(
        grants,
        change.get("is_admin", subject.is_admin),
        change.get("claw_type", subject.claw_type),
        change.get("status", subject.membership),
    )


def _allow(rule: Rule, reason: str) -> Decision:
    return Decision(allowed=True, rule=rule, reasons=(reason,))


def _deny(rule: Rule, reason: str) -> Decision:
    return Decision(allowed=False, rule=rule, reasons=(reason,))
