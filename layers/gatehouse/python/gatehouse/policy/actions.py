"""What other rooms and the handlers ask of the policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gatehouse.core.errors import PolicyDenied, ScopeMissing
from gatehouse.core.principal import Principal
from gatehouse.policy import rules
from gatehouse.policy.model import MANAGE, Decision, Described, Resource, Subject

evaluate = rules.evaluate
outside = rules.outside


def memory_action(operation: str | None) -> str | None:
    """Name the action that a memory operation is."""
    return None if operation is None else rules.MEMORY_ACTIONS[operation]


def described() -> tuple[Described, ...]:
    """List the rules in the order of evaluation."""
    return rules.RULES


def subject_of(caller: Principal) -> Subject:
    """See a caller as the rules do."""
    return Subject(caller.grants, caller.is_admin, caller.claw_type, caller.membership)


def scope(name: str) -> Callable[[Principal], None]:
    """Make a route's requirement: the key holds this scope, or ScopeMissing."""

    def check(caller: Principal) -> None:
        if not caller.grants.opens(name):
            raise ScopeMissing(name)

    check.__doc__ = name
    return check


def require(action: str) -> Callable[[Principal], None]:
    """Make a route's requirement: the caller may do `action`, or PolicyDenied with the why."""

    def check(caller: Principal) -> None:
        decision = rules.evaluate(action, subject_of(caller), Resource())
        if not decision.allowed:
            raise denial(decision)

    check.__doc__ = action
    return check


def managing(name: str) -> Callable[[Principal], None]:
    """Make a route's requirement: the key holds this scope, and its identity may manage.

    The scope stays the route's own: what the rules are asked of is the identity, without its key.
    """
    holds = scope(name)

    def check(caller: Principal) -> None:
        holds(caller)
        identity = replace(subject_of(caller), grants=None)
        decision = rules.evaluate(MANAGE, identity, Resource())
        if not decision.allowed:
            raise denial(decision)

    check.__doc__ = f"{name}, and {MANAGE} of the identity"
    return check


def denial(decision: Decision) -> PolicyDenied:
    """Turn a decision against somebody into the error that explains it."""
    return PolicyDenied(
        f"Denied by {decision.rule.value}: {'; '.join(decision.reasons)}",
        details={
            "rule": decision.rule.value,
            "reasons": list(decision.reasons),
            "would_allow": dict(decision.would_allow),
        },
    )
