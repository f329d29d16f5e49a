"""The routes of the policy: list the rules, and evaluate them for identities and keys."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatehouse.core.grants import KNOWN_SCOPES, MEMORY_OPERATIONS, SIGNAL_TYPES
from gatehouse.identities.model import ClawType, Membership
from gatehouse.policy.model import ACTIONS
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.invocation import Answer


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


def ask(front: Front, admin: Holder, **question: Any) -> Answer:
    return front("POST", "/admin/policy/evaluate", key=admin.key, body=question)


def decided(front: Front, admin: Holder, **question: Any) -> dict[str, Any]:
    answer = ask(front, admin, **question)
    assert answer.status == 200, answer.text
    data = answer.json()["data"]
    assert set(data) == {"allowed", "rule", "reasons", "would_allow"}
    assert data["reasons"], "a decision without a reason"
    assert bool(data["would_allow"]) == (not data["allowed"])
    return data


def test_the_rules_are_listed_in_the_order_of_evaluation(front: Front, admin: Holder) -> None:
    rules = front("GET", "/admin/policy", key=admin.key).json()["data"]["rules"]
    assert [(rule["name"], rule["order"], rule["effect"]) for rule in rules] == [
        ("admin_bypass", 1, "allow"),
        ("membership_required", 2, "deny"),
        ("service_claw_restriction", 3, "deny"),
        ("admin_action_restriction", 4, "deny"),
        ("default_allow", 5, "allow"),
    ]
    assert all(rule["description"] for rule in rules)


@pytest.mark.parametrize(
    ("identity", "action", "allowed", "rule", "would_allow"),
    [
        ({"is_admin": True}, "admin:manage", True, "admin_bypass", {}),
        ({"is_admin": True, "status": "suspended"}, "admin:manage", True, "admin_bypass", {}),
        (
            {"status": "suspended"},
            "signal:emit",
            False,
            "membership_required",
            {"status": "active"},
        ),
        (
            {"status": "removed", "claw_type": "service"},
            "memory:export",
            False,
            "membership_required",
            {"status": "active", "claw_type": "employee"},
        ),
        (
            {"claw_type": "service"},
            "federation:deliver",
            False,
            "service_claw_restriction",
            {"claw_type": "employee"},
        ),
        (
            {"claw_type": "service"},
            "memory:delete",
            False,
            "service_claw_restriction",
            {"claw_type": "employee"},
        ),
        (
            {"claw_type": "service"},
            "admin:manage",
            False,
            "service_claw_restriction",
            {"is_admin": True},
        ),
        ({"claw_type": "service"}, "memory:read", True, "default_allow", {}),
        ({}, "admin:manage", False, "admin_action_restriction", {"is_admin": True}),
        ({}, "federation:ack", True, "default_allow", {}),
    ],
)
def test_each_rule_decides_its_own_case(
    front: Front,
    people: People,
    admin: Holder,
    identity: dict[str, Any],
    action: str,
    allowed: bool,  # noqa: FBT001 - a column of the table
    rule: str,
    would_allow: dict[str, Any],
) -> None:
    member = people.member(
        admin,
        is_admin=identity.get("is_admin", False),
        claw_type=ClawType(identity.get("claw_type", "employee")),
        membership=Membership(identity.get("status", "active")),
    )
    for named in (member.id, f"identity:{member.id}"):
        decision = decided(front, admin, identity=named, action=action)
        assert (decision["allowed"], decision["rule"]) == (allowed, rule)
        assert decision["would_allow"] == would_allow


@pytest.mark.parametrize(
    ("held", "question", "would_allow"),
    [
        ({"scopes": []}, {"action": "signal:emit"}, {"scopes": ["agents:write"]}),
        ({"scopes": ["agents:read"]}, {"action": "task:ack"}, {"scopes": ["agents:write"]}),
        (
            {"permissions": {"signal_types": ["task"]}},
            {"action": "signal:emit", "resource": {"signal_type": "alert"}},
            {"permissions": {"signal_types": ["alert"]}},
        ),
        (
            {"permissions": {"ring_scopes": ["a"]}, "scopes": ["services:read"]},
            {"action": "signal:inspect", "resource": {"ring": "b"}},
            {"scopes": ["agents:read"], "permissions": {"ring_scopes": ["b"]}},
        ),
        (
            {"permissions": {"memory_scopes": ["store"]}},
            {"action": "memory:export"},
            {"permissions": {"memory_scopes": ["*"]}},
        ),
    ],
)
def test_a_keys_own_grants_are_checked_first(
    front: Front,
    people: People,
    admin: Holder,
    held: dict[str, Any],
    question: dict[str, Any],
    would_allow: dict[str, Any],
) -> None:
    key = people.employee(admin, **held)
    for named in (key.key_id, f"api_key:{key.key_id}"):
        decision = decided(front, admin, key_id=named, **question)
        assert (decision["allowed"], decision["rule"]) == (False, "key_scope")
        assert decision["would_allow"] == would_allow


some_entries = st.lists(st.sampled_from("ab"), max_size=1)
grants = st.fixed_dictionaries(
    {
        "scopes": st.lists(st.sampled_from(KNOWN_SCOPES), max_size=2, unique=True),
        "permissions": st.fixed_dictionaries(
            {
                "signal_types": st.lists(st.sampled_from(SIGNAL_TYPES), max_size=1),
                "task_types": some_entries,
                "ring_scopes": some_entries,
                "memory_scopes": st.lists(st.sampled_from(MEMORY_OPERATIONS), max_size=1),
            }
        ),
    }
)
resources = st.fixed_dictionaries(
    {},
    optional={
        "signal_type": st.sampled_from(SIGNAL_TYPES),
        "task_type": st.sampled_from("abc"),
        "ring": st.sampled_from("abc"),
        "memory_op": st.sampled_from(MEMORY_OPERATIONS),
    },
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    held=grants,
    action=st.sampled_from(ACTIONS),
    resource=resources,
    claw=st.sampled_from(["employee", "service", "central"]),
    status=st.sampled_from(["active", "suspended"]),
)
def test_applying_a_would_allow_through_the_routes_allows(
    front: Front,
    people: People,
    admin: Holder,
    held: dict[str, Any],
    action: str,
    resource: dict[str, str],
    claw: str,
    status: str,
) -> None:
    member = people.member(admin, claw_type=ClawType(claw))
    key = people.key_for(admin, member, rate_limit=6_000, **held)
    path = f"/admin/identities/{member.id}"
    front("PATCH", path, key=admin.key, body={"status": status})
    question = {"action": action, "resource": resource}
    decision = decided(front, admin, key_id=key.key_id, **question)
    if decision["allowed"]:
        return
    change = dict(decision["would_allow"])
    added, lists = change.pop("scopes", []), change.pop("permissions", {})
    # A new key is created, so its owner must be active for a moment.
    front("PATCH", path, key=admin.key, body={"status": "active"})
    wider = {
        "scopes": held["scopes"] + added,
        "permissions": {
            name: [] if lists.get(name) == ["*"] else values + lists.get(name, [])
            for name, values in held["permissions"].items()
        },
    }
    again = people.key_for(admin, member, rate_limit=6_000, **wider)
    final = {"status": status} | change
    assert front("PATCH", path, key=admin.key, body=final).status == 200
    assert decided(front, admin, key_id=again.key_id, **question)["allowed"]


def test_every_route_explains_a_denial_in_the_same_way(
    front: Front, people: People, admin: Holder
) -> None:
    key = people.employee(admin, scopes=["services:read"])
    refused = front("GET", "/admin/policy", key=key.key).json()["error"]["details"]
    asked = decided(front, admin, key_id=key.key_id, action="admin:manage")
    assert refused == {name: asked[name] for name in ("rule", "reasons", "would_allow")}


def test_evaluating_changes_nothing(front: Front, people: People, admin: Holder) -> None:
    member = people.member(admin)
    before = front("GET", "/admin/audit", key=admin.key).json()["data"]["head"]
    decided(front, admin, identity=member.id, action="admin:manage")
    assert front("GET", "/admin/audit", key=admin.key).json()["data"]["head"] == before


def test_an_invalid_question_is_a_400(front: Front, people: People, admin: Holder) -> None:
    identity, key = admin.identity_id, admin.key_id
    for question in (
        {},
        {"action": "signal:emit"},
        {"identity": identity},
        {"action": "fly", "identity": identity},
        {"action": 5, "identity": identity},
        {"action": "signal:emit", "identity": "x"},
        {"action": "signal:emit", "identity": f"api_key:{identity}"},
        {"action": "signal:emit", "key_id": "x"},
        {"action": "signal:emit", "identity": identity, "key_id": key},
        {"action": "signal:emit", "identity": identity, "resource": {"signal_type": "noise"}},
        {"action": "memory:read", "identity": identity, "resource": {"memory_op": "burn"}},
        {"action": "memory:read", "identity": identity, "resource": "x"},
    ):
        assert ask(front, admin, **question).status == 400, question
    stranger = people.tenant()
    for question in (
        {"identity": str(uuid.uuid4())},
        {"key_id": str(uuid.uuid4())},
        {"identity": stranger.identity_id},
        {"key_id": stranger.key_id},
    ):
        assert ask(front, admin, action="signal:emit", **question).status == 404, question
    employee = people.employee(admin)
    assert ask(front, employee, action="signal:emit", identity=identity).status == 403
