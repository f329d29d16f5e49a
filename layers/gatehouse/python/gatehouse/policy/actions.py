"""Ask the policy, and requirements of routes that are made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gatehouse.core.errors import PolicyDenied, ScopeMissing
from gatehouse.core.grants import Grants
from gatehouse.core.principal import Principal
from gatehouse.policy import rules
from gatehouse.policy.model import MANAGE, Decision, Resource, RuleDescription, Subject


def evaluate(action: str, subject: Subject, *, resource: Resource) -> Decision:
    """Decide whether the subject may do the action, and what would change a denial."""
    return rules.evaluate(action, subject, resource)


def missing_permissions(grants: Grants, resource: Resource) -> dict[str, list[str]]:
    """Return the parts of a resource that the permission lists do not contain, by list."""
    return rules.missing_permissions(grants, resource)


def memory_action(operation: str | None) -> str | None:
    """Return the action to which a memory operation belongs."""
    return None if operation is None else rules.MEMORY_ACTIONS[operation]


def list_rules() -> tuple[RuleDescription, ...]:
    """List the rules in the order of evaluation."""
    return rules.RULES


def subject_of(caller: Principal) -> Subject:
    """Return a caller as the rules take it."""
    return Subject(caller.grants, caller.is_admin, caller.claw_type, caller.membership)


def scope(name: str) -> Callable[[Principal], None]:
    """Return a route's requirement: the key has this scope. It raises ScopeMissing."""

    def check(caller: Principal) -> None:
        if not caller.grants.opens(name):
            raise ScopeMissing(name)

    check.__doc__ = name
    return check


def require(action: str) -> Callable[[Principal], None]:
    """Return a route's requirement: the caller may do `action`. It raises PolicyDenied."""

    def check(caller: Principal) -> None:
        decision = rules.evaluate(action, subject_of(caller), Resource())
        if not decision.allowed:
            raise denial(decision)

    check.__doc__ = action
    return check


def managing(name: str) -> Callable[[Principal], None]:
    """Return a route's requirement: the key has this scope, and its identity may manage.

    The rules are asked about the identity without its key, so the key needs only this one scope
    and not `admin:manage`.
    """
    check_scope = scope(name)

    def check(caller: Principal) -> None:
        check_scope(caller)
        identity = replace(subject_of(caller), grants=None)
        decision = rules.evaluate(MANAGE, identity, Resource())
        if not decision.allowed:
            raise denial(decision)

    check.__doc__ = f"{name}, and {MANAGE} of the identity"
    return check


def denial(decision: Decision) -> PolicyDenied:
    """Return the error that explains a denial. It names the scope that the key lacks, if any."""
    scopes = decision.would_allow.get("scopes", ())
    return PolicyDenied(
        f"Denied by {decision.rule.value}: {'; '.join(decision.reasons)}",
        details={
            "rule": decision.rule.value,
            "reasons": list(decision.reasons),
            "would_allow": dict(decision.would_allow),
        },
        needed=scopes[0] if scopes else None,
    )
