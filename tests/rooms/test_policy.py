"""The policy: which rule decides, the reasons, and which change would allow a denied action."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core.errors import PolicyDenied, ScopeMissing
from gatehouse.core.grants import (
    FULL,
    KNOWN_SCOPES,
    MEMORY_OPERATIONS,
    SIGNAL_TYPES,
    Grants,
    Permissions,
)
from gatehouse.core.principal import Principal
from gatehouse.policy import actions, rules
from gatehouse.policy.model import ACTIONS, MANAGE, UNNAMED, Resource, Rule, Subject

CLAWS = ("central", "employee", "service")
MEMBERSHIPS = ("invited", "active", "suspended", "removed")

some = st.lists(st.sampled_from("ab"), max_size=2, unique=True).map(tuple)
permissions = st.builds(
    Permissions,
    st.lists(st.sampled_from(SIGNAL_TYPES), max_size=2, unique=True).map(tuple),
    some,
    some,
    st.lists(st.sampled_from(MEMORY_OPERATIONS), max_size=3, unique=True).map(tuple),
)
grants = st.builds(
    Grants, st.lists(st.sampled_from(KNOWN_SCOPES), max_size=3, unique=True).map(tuple), permissions
)
subjects = st.builds(
    Subject,
    st.one_of(st.none(), grants),
    st.booleans(),
    st.sampled_from(CLAWS),
    st.sampled_from(MEMBERSHIPS),
)
resources = st.builds(
    Resource,
    st.one_of(st.none(), st.sampled_from(SIGNAL_TYPES)),
    st.one_of(st.none(), st.sampled_from(["a", "b", "c", UNNAMED])),
    st.one_of(st.none(), st.sampled_from(["a", "b", "c", UNNAMED])),
    st.one_of(st.none(), st.sampled_from(MEMORY_OPERATIONS)),
)
acts = st.sampled_from(ACTIONS)
NOTHING = Resource()


def _subject(
    scopes: tuple[str, ...] | None = ("*",),
    *,
    is_admin: bool = False,
    claw: str = "employee",
    membership: str = "active",
    **lists: tuple[str, ...],
) -> Subject:
    held = None if scopes is None else Grants(scopes, Permissions(**lists))
    return Subject(held, is_admin, claw, membership)


@pytest.mark.parametrize(
    ("subject", "action", "rule", "allowed"),
    [
        (_subject(is_admin=True), MANAGE, Rule.ADMIN_BYPASS, True),
        (_subject(is_admin=True, membership="suspended"), MANAGE, Rule.ADMIN_BYPASS, True),
        (_subject(is_admin=True, claw="service"), "federation:claim", Rule.ADMIN_BYPASS, True),
        (_subject(None, is_admin=True), MANAGE, Rule.ADMIN_BYPASS, True),
        (_subject(("agents:*",), is_admin=True), MANAGE, Rule.KEY_SCOPE, False),
        (_subject(("admin:manage",), is_admin=True), "signal:emit", Rule.KEY_SCOPE, False),
        (_subject(membership="invited"), "signal:emit", Rule.MEMBERSHIP_REQUIRED, False),
        (_subject(membership="suspended"), "signal:emit", Rule.MEMBERSHIP_REQUIRED, False),
        (_subject(membership="removed", claw="service"), MANAGE, Rule.MEMBERSHIP_REQUIRED, False),
        (_subject(claw="service"), MANAGE, Rule.SERVICE_CLAW_RESTRICTION, False),
        (_subject(claw="service"), "memory:delete", Rule.SERVICE_CLAW_RESTRICTION, False),
        (_subject(claw="service"), "memory:export", Rule.SERVICE_CLAW_RESTRICTION, False),
        (_subject(claw="service"), "federation:deliver", Rule.SERVICE_CLAW_RESTRICTION, False),
        (_subject(claw="service"), "federation:cancel", Rule.SERVICE_CLAW_RESTRICTION, False),
        (_subject(claw="service"), "memory:read", Rule.DEFAULT_ALLOW, True),
        (_subject(claw="service"), "signal:emit", Rule.DEFAULT_ALLOW, True),
        (_subject(), MANAGE, Rule.ADMIN_ACTION_RESTRICTION, False),
        (_subject(claw="central"), MANAGE, Rule.ADMIN_ACTION_RESTRICTION, False),
        (_subject(None), MANAGE, Rule.ADMIN_ACTION_RESTRICTION, False),
        (_subject(("agents:*",)), MANAGE, Rule.KEY_SCOPE, False),
        (_subject(()), "signal:emit", Rule.KEY_SCOPE, False),
        (_subject(("agents:read",)), "signal:inspect", Rule.DEFAULT_ALLOW, True),
        (_subject(("agents:read",)), "signal:emit", Rule.KEY_SCOPE, False),
        (_subject(("agents:write",)), "signal:inspect", Rule.KEY_SCOPE, False),
        (_subject(("agents:write",)), "task:complete", Rule.DEFAULT_ALLOW, True),
        (_subject(("agents:write",)), "memory:delete", Rule.DEFAULT_ALLOW, True),
        (_subject(("agents:read",)), "memory:search", Rule.DEFAULT_ALLOW, True),
        (_subject(("admin:manage",)), "federation:ack", Rule.DEFAULT_ALLOW, True),
        (_subject(("agents:*",)), "federation:ack", Rule.KEY_SCOPE, False),
        (_subject(None), "federation:ack", Rule.DEFAULT_ALLOW, True),
    ],
)
def test_the_first_rule_that_applies_decides(
    subject: Subject, action: str, rule: Rule, *, allowed: bool
) -> None:
    decision = rules.evaluate(action, subject, NOTHING)
    assert (decision.rule, decision.allowed) == (rule, allowed)
    assert decision.reasons
    assert bool(decision.would_allow) != allowed


@pytest.mark.parametrize(
    ("lists", "action", "resource", "allowed"),
    [
        ({"signal_types": ("task",)}, "signal:emit", Resource(signal_type="task"), True),
        ({"signal_types": ("task",)}, "signal:emit", Resource(signal_type="pulse"), False),
        ({"signal_types": ("task",)}, "signal:emit", NOTHING, True),
        ({"task_types": ("a",)}, "task:claim", Resource(task_type="b"), False),
        ({"ring_scopes": ("a",)}, "signal:emit", Resource(ring="a"), True),
        ({"ring_scopes": ("a",)}, "signal:emit", Resource(ring="b"), False),
        ({"memory_scopes": ("list",)}, "memory:read", Resource(memory_op="list"), True),
        ({"memory_scopes": ("list",)}, "memory:read", Resource(memory_op="graph"), False),
        ({"memory_scopes": ("list",)}, "memory:read", NOTHING, True),
        ({"memory_scopes": ("list",)}, "memory:write", NOTHING, False),
        ({"memory_scopes": ("query",)}, "memory:search", NOTHING, True),
        ({"memory_scopes": MEMORY_OPERATIONS}, "memory:export", NOTHING, False),
        ({}, "memory:export", NOTHING, True),
    ],
)
def test_permission_lists_restrict_the_named_fields_of_a_resource(
    lists: dict[str, Any], action: str, resource: Resource, *, allowed: bool
) -> None:
    for is_admin in (False, True):
        subject = _subject(is_admin=is_admin, **lists)
        decision = rules.evaluate(action, subject, resource)
        assert decision.allowed == allowed
        if not allowed:
            assert decision.rule is Rule.KEY_SCOPE


@given(subjects, acts, resources)
def test_every_decision_has_reasons_and_a_denial_a_would_allow(
    subject: Subject, action: str, resource: Resource
) -> None:
    decision = rules.evaluate(action, subject, resource)
    assert decision.reasons
    assert (decision.would_allow == {}) == decision.allowed


@given(subjects, acts, resources)
def test_applying_would_allow_allows(subject: Subject, action: str, resource: Resource) -> None:
    decision = rules.evaluate(action, subject, resource)
    if not decision.allowed:
        changed = rules.apply(subject, dict(decision.would_allow))
        assert rules.evaluate(action, changed, resource).allowed


@given(subjects, acts, resources)
def test_would_allow_is_minimal(subject: Subject, action: str, resource: Resource) -> None:
    """With any part of the change, or any entry of a list, left out the action is still denied."""
    decision = rules.evaluate(action, subject, resource)
    change = dict(decision.would_allow)
    parts: list[tuple[str, str | None]] = []
    for name, value in change.items():
        if name == "permissions":
            parts += [(name, inner) for inner in value]
        else:
            parts.append((name, None))
    for size in range(len(parts)):
        for chosen in combinations(parts, size):
            less: dict[str, Any] = {}
            for name, inner in chosen:
                if inner is None:
                    less[name] = change[name]
                else:
                    less.setdefault(name, {})[inner] = change[name][inner]
            changed = rules.apply(subject, less)
            assert not rules.evaluate(action, changed, resource).allowed
    for values in (change.get("scopes", ["one"]), *change.get("permissions", {}).values()):
        assert len(values) == 1


@given(subjects, acts, resources, st.data())
def test_adding_a_restriction_never_allows_more(
    subject: Subject, action: str, resource: Resource, data: st.DataObject
) -> None:
    held = subject.grants or FULL
    lists = held.permissions.to_dict()
    name = data.draw(st.sampled_from(sorted(lists)))
    if lists[name]:
        lists[name] = lists[name][:-1] or ["nothing-like-it"]
    else:
        lists[name] = [data.draw(st.sampled_from(["a", "task", "list"]))]
    narrowed = data.draw(
        st.sampled_from(
            [
                replace(subject, grants=Grants(held.scopes[:-1], held.permissions)),
                replace(subject, grants=Grants(held.scopes, Permissions.from_dict(lists))),
                replace(subject, grants=held, is_admin=False),
                replace(subject, grants=held, membership="suspended"),
                replace(subject, grants=held, claw_type="service"),
            ]
        )
    )
    if rules.evaluate(action, narrowed, resource).allowed:
        assert rules.evaluate(action, subject, resource).allowed


@given(subjects, acts, resources)
def test_naming_more_of_a_resource_never_allows_more(
    subject: Subject, action: str, resource: Resource
) -> None:
    if action.startswith("memory:") and resource.memory_op is not None:
        return  # without a named operation, any operation of the action is enough
    if rules.evaluate(action, subject, resource).allowed:
        assert rules.evaluate(action, subject, NOTHING).allowed


CALLER = Principal(
    key_id="k",
    account_id="a",
    identity_id="i",
    key_prefix="hk_0000",
    grants=Grants(("services:read",)),
    is_admin=False,
    claw_type="employee",
    membership="active",
    operator=False,
)


def test_a_route_that_needs_a_scope_names_it() -> None:
    actions.scope("services:read")(CALLER)
    with pytest.raises(ScopeMissing) as missing:
        actions.scope("services:write")(CALLER)
    assert missing.value.details == {"required_scope": "services:write"}


def test_a_route_that_needs_an_action_explains_its_denial() -> None:
    with pytest.raises(PolicyDenied) as denied:
        actions.require(MANAGE)(CALLER)
    assert denied.value.details == {
        "rule": "key_scope",
        "reasons": ["the key lacks the scope admin:manage"],
        "would_allow": {"scopes": ["admin:manage"], "is_admin": True},
    }
    actions.require(MANAGE)(replace(CALLER, grants=FULL, is_admin=True))


def test_managing_checks_the_keys_scope_and_the_identitys_rights() -> None:
    narrow = replace(CALLER, grants=Grants(("services:read",), Permissions()))
    with pytest.raises(PolicyDenied) as denied:
        actions.managing("services:read")(narrow)
    assert denied.value.details["would_allow"] == {"is_admin": True}
    with pytest.raises(ScopeMissing):
        actions.managing("services:write")(replace(narrow, is_admin=True))
    actions.managing("services:read")(replace(narrow, is_admin=True))


@pytest.mark.parametrize("operation", MEMORY_OPERATIONS)
def test_every_memory_operation_has_an_action(operation: str) -> None:
    assert actions.memory_action(operation) in ACTIONS
    assert actions.memory_action(None) is None


def test_rules_are_listed_in_the_order_of_evaluation() -> None:
    assert [rule.order for rule in actions.list_rules()] == [1, 2, 3, 4, 5]
    assert [rule.name for rule in actions.list_rules()] == [rule.value for rule in list(Rule)[1:]]


@pytest.mark.parametrize("entries", [("a",), ("*",), ("a", "b")])
@pytest.mark.parametrize("name", ["ring_scopes", "task_types"])
def test_a_resource_without_a_name_needs_an_unrestricted_key(
    name: str, entries: tuple[str, ...]
) -> None:
    resource = Resource(ring=UNNAMED) if name == "ring_scopes" else Resource(task_type=UNNAMED)
    assert rules.evaluate("signal:emit", _subject(), resource).allowed
    decision = rules.evaluate("signal:emit", _subject(**{name: entries}), resource)
    assert (decision.allowed, decision.rule) == (False, Rule.KEY_SCOPE)
    assert decision.reasons == (
        f"the key's {name} are restricted, and the request names none of them",
    )
    assert decision.would_allow == {"permissions": {name: ["*"]}}
