"""The policy word for word: its rules, scopes, reasons and the smallest change that allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core.grants import Grants, Permissions
from gatehouse.policy import rules
from gatehouse.policy.model import ACTIONS, Decision, Resource, Rule, RuleDescription, Subject

NOTHING = Resource()
EMPLOYEE = Subject(None, is_admin=False, claw_type="employee", membership="active")


def _holder(*scopes: str, **lists: tuple[str, ...]) -> Subject:
    grants = Grants(scopes, Permissions(**lists))
    return Subject(grants, is_admin=False, claw_type="employee", membership="active")


def test_the_five_rules_are_published_in_order() -> None:
    assert (
        RuleDescription("admin_bypass", 1, "allow", "An admin of the account may do everything."),
        RuleDescription(
            *("membership_required", 2, "deny"),
            "An identity that is not active may do nothing.",
        ),
        RuleDescription(
            *("service_claw_restriction", 3, "deny"),
            "A service may not manage, delete or export memory, or take part in federation.",
        ),
        RuleDescription("admin_action_restriction", 4, "deny", "Only an admin may manage."),
        RuleDescription(
            *("default_allow", 5, "allow"),
            "An active identity may do everything that no rule denies.",
        ),
    ) == rules.RULES


def test_every_action_needs_the_documented_scope() -> None:
    reads = {"signal:inspect", "discovery:query", "memory:read", "memory:search", "memory:export"}
    writes = {
        *("signal:emit", "task:claim", "task:ack", "task:cancel", "task:complete"),
        *("memory:write", "memory:delete"),
    }
    manages = {f"federation:{verb}" for verb in ("deliver", "claim", "ack", "cancel")}
    assert {action: rules.scope_for(action) for action in ACTIONS} == {
        **dict.fromkeys(reads, "agents:read"),
        **dict.fromkeys(writes, "agents:write"),
        **dict.fromkeys({*manages, "admin:manage"}, "admin:manage"),
    }


def test_each_memory_operation_is_of_one_action() -> None:
    assert list(rules.MEMORY_ACTIONS.items()) == [
        ("store", "memory:write"),
        ("update", "memory:write"),
        ("relate", "memory:write"),
        ("list", "memory:read"),
        ("recall", "memory:read"),
        ("graph", "memory:read"),
        ("query", "memory:search"),
        ("forget", "memory:delete"),
    ]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("signal_types", "signal_type"),
        ("task_types", "task_type"),
        ("ring_scopes", "ring"),
        ("memory_scopes", "memory_op"),
    ],
)
@pytest.mark.parametrize(
    ("held", "value", "missing"),
    [
        (("a",), "a", None),
        (("a",), "b", ["b"]),
        (("a",), "", ["*"]),
        (("a",), None, None),
        ((), "b", None),
        ((), "", None),
    ],
)
def test_missing_permissions_are_listed_by_name(
    name: str, field: str, held: tuple[str, ...], value: str | None, missing: list[str] | None
) -> None:
    grants = Grants((), Permissions(**{name: held}))
    expected = {} if missing is None else {name: missing}
    assert rules.missing_permissions(grants, Resource(**{field: value})) == expected


SERVICE = Subject(None, is_admin=False, claw_type="service", membership="active")
ADMIN = Subject(None, is_admin=True, claw_type="service", membership="removed")


@pytest.mark.parametrize(
    ("subject", "action", "rule", "reason", "change"),
    [
        (ADMIN, "admin:manage", Rule.ADMIN_BYPASS, "the identity is an admin", {}),
        (EMPLOYEE, "signal:emit", Rule.DEFAULT_ALLOW, "no rule denies it", {}),
        (SERVICE, "memory:read", Rule.DEFAULT_ALLOW, "no rule denies it", {}),
        (_holder("*"), "memory:write", Rule.DEFAULT_ALLOW, "no rule denies it", {}),
        (
            *(replace(SERVICE, membership="removed"), "memory:read"),
            *(Rule.MEMBERSHIP_REQUIRED, "the membership is removed", {"status": "active"}),
        ),
        (
            *(replace(EMPLOYEE, membership="suspended"), "signal:emit"),
            *(Rule.MEMBERSHIP_REQUIRED, "the membership is suspended", {"status": "active"}),
        ),
        (
            *(replace(SERVICE, membership="invited"), "memory:delete"),
            *(Rule.MEMBERSHIP_REQUIRED, "the membership is invited"),
            {"status": "active", "claw_type": "employee"},
        ),
        *(
            (
                *(SERVICE, action, Rule.SERVICE_CLAW_RESTRICTION),
                *(f"claw type service may not {action}", {"claw_type": "employee"}),
            )
            for action in ("memory:delete", "memory:export", "federation:ack")
        ),
        (
            *(SERVICE, "admin:manage", Rule.SERVICE_CLAW_RESTRICTION),
            *("claw type service may not admin:manage", {"is_admin": True}),
        ),
        (
            *(EMPLOYEE, "admin:manage", Rule.ADMIN_ACTION_RESTRICTION),
            *("the identity is not an admin", {"is_admin": True}),
        ),
    ],
)
def test_an_identity_gets_one_reason_and_the_smallest_change(
    subject: Subject, action: str, rule: Rule, reason: str, change: dict[str, Any]
) -> None:
    allowed = not change
    decision = Decision(allowed=allowed, rule=rule, reasons=(reason,), would_allow=change)
    assert rules.evaluate(action, subject, NOTHING) == decision


LACKS_WRITE = "the key lacks the scope agents:write"


def _unnamed(name: str) -> str:
    return f"the key's {name} are restricted, and the request names none of them"


@pytest.mark.parametrize(
    ("subject", "action", "resource", "reasons", "change"),
    [
        (_holder(), "signal:emit", NOTHING, (LACKS_WRITE,), {"scopes": ["agents:write"]}),
        (
            *(_holder("*", signal_types=("task",)), "signal:emit", Resource("pulse")),
            ("the key's signal_types do not include pulse",),
            {"permissions": {"signal_types": ["pulse"]}},
        ),
        (
            *(_holder("*", ring_scopes=("r",)), "signal:emit", Resource(ring="")),
            *((_unnamed("ring_scopes"),), {"permissions": {"ring_scopes": ["*"]}}),
        ),
        (
            *(_holder("agents:read", task_types=("t",)), "task:claim", Resource(task_type="u")),
            (LACKS_WRITE, "the key's task_types do not include u"),
            {"scopes": ["agents:write"], "permissions": {"task_types": ["u"]}},
        ),
        *(
            (
                *(_holder("*", memory_scopes=(held,)), action, NOTHING),
                (f"the key's memory_scopes do not include {first}",),
                {"permissions": {"memory_scopes": [first]}},
            )
            for held, action, first in (
                ("list", "memory:write", "store"),
                ("store", "memory:read", "list"),
                ("list", "memory:search", "query"),
                ("list", "memory:delete", "forget"),
            )
        ),
        (
            *(_holder("*", memory_scopes=("list",)), "memory:export", NOTHING),
            *((_unnamed("memory_scopes"),), {"permissions": {"memory_scopes": ["*"]}}),
        ),
        (
            *(_holder("*", memory_scopes=("list",)), "memory:write", Resource(memory_op="relate")),
            ("the key's memory_scopes do not include relate",),
            {"permissions": {"memory_scopes": ["relate"]}},
        ),
    ],
)
def test_a_key_gets_every_reason_and_the_smallest_change(
    subject: Subject,
    action: str,
    resource: Resource,
    reasons: tuple[str, ...],
    change: dict[str, Any],
) -> None:
    decision = Decision(allowed=False, rule=Rule.KEY_SCOPE, reasons=reasons, would_allow=change)
    assert rules.evaluate(action, subject, resource) == decision


@pytest.mark.parametrize("action", ["signal:emit", "discovery:query"])
def test_memory_lists_do_not_restrict_other_actions(action: str) -> None:
    subject = _holder("*", memory_scopes=("list",))
    assert rules.evaluate(action, subject, NOTHING).rule is Rule.DEFAULT_ALLOW


def test_any_one_operation_of_a_memory_action_is_enough() -> None:
    for held in ("list", "recall", "graph"):
        subject = _holder("*", memory_scopes=("forget", held))
        assert rules.evaluate("memory:read", subject, NOTHING).allowed


def test_the_smallest_change_for_a_key_includes_its_identity() -> None:
    grants = Grants(("agents:read",), Permissions(memory_scopes=("list",)))
    key = {"scopes": ["agents:write"], "permissions": {"memory_scopes": ["forget"]}}
    for is_admin, identity in (
        (True, {}),
        (False, {"status": "active", "claw_type": "employee"}),
    ):
        subject = Subject(grants, is_admin, "service", "removed")
        decision = rules.evaluate("memory:delete", subject, NOTHING)
        assert decision.would_allow == {**key, **identity}


def test_a_change_is_applied_to_every_part_it_names() -> None:
    subject = _holder("agents:read", ring_scopes=("r",), task_types=("t",))
    change = {
        "scopes": ["agents:write"],
        "permissions": {"ring_scopes": ["*"], "task_types": ["u"]},
        "is_admin": True,
        "claw_type": "central",
        "status": "invited",
    }
    grants = Grants(("agents:read", "agents:write"), Permissions(task_types=("t", "u")))
    changed = Subject(None, is_admin=True, claw_type="central", membership="invited")
    assert rules.apply(subject, change) == replace(changed, grants=grants)
    assert rules.apply(subject, {}) == subject
    assert rules.apply(EMPLOYEE, change) == changed
    assert rules.apply(EMPLOYEE, {}) == EMPLOYEE
