"""Which signals a key may emit, see and claim: scopes, rules and permission lists."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.identities.model import ClawType, Membership
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.invocation import Answer

NEVER = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


@pytest.fixture(scope="module")
def worker(people: People, admin: Holder) -> Any:
    """Return a function that creates an employee's key with permission lists."""
    member = people.member(admin)

    def make(**fields: Any) -> Holder:
        return people.key_for(admin, member, **fields)

    return make


def emit(front: Front, holder: Holder, **fields: Any) -> Answer:
    body = {"signal_type": "task", "content": "do it", **fields}
    headers = body.pop("headers", None)
    return front("POST", "/emit", key=holder.key, body=body, headers=headers)


def emitted(front: Front, holder: Holder, **fields: Any) -> str:
    answer = emit(front, holder, **fields)
    assert answer.status == 201, answer.text
    return str(answer.json()["data"]["id"])


def act(front: Front, holder: Holder, what: str, signal_id: str) -> Answer:
    return front("POST", f"/{what}", key=holder.key, body={"signal_id": signal_id})


def show(front: Front, holder: Holder, signal_id: str) -> Answer:
    return front("GET", f"/signals/{signal_id}", key=holder.key)


def page(front: Front, holder: Holder, **query: str) -> Answer:
    return front("GET", "/signals/list", key=holder.key, query={"limit": "100", **query})


def listed(front: Front, holder: Holder, **query: str) -> set[str]:
    answer = page(front, holder, **query)
    assert answer.status == 200, answer.text
    return {one["id"] for one in answer.json()["data"]}


def check_denied(answer: Answer, **expected: Any) -> dict[str, Any]:
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (403, "POLICY_DENIED"), answer.text
    details = error["details"]
    assert set(details) == {"rule", "reasons", "would_allow"}
    assert details["reasons"]
    for name, value in expected.items():
        assert details[name] == value
    return details


def check_unknown(answer: Answer) -> None:
    assert (answer.status, answer.json()["error"]["code"]) == (404, "SIGNAL_NOT_FOUND")


# ---- Scopes and rules ----------------------------------------------------------------------------

ROUTES = [
    ("POST", "/emit", "agents:write"),
    ("POST", "/claim", "agents:write"),
    ("POST", "/ack", "agents:write"),
    ("GET", "/signals/list", "agents:read"),
    ("GET", f"/signals/{NEVER}", "agents:read"),
]
BODIES = {
    "/emit": {"signal_type": "pulse", "content": "x"},
    "/claim": {"signal_id": NEVER},
    "/ack": {"signal_id": NEVER},
}


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_needs_its_scope(
    front: Front, people: People, admin: Holder, worker: Any, method: str, path: str, scope: str
) -> None:
    others = ["agents:read", "agents:write", "admin:manage", "services:*"]
    others.remove(scope)
    for narrow in (people.key(admin, scopes=others), worker(scopes=others)):
        answer = front(method, path, key=narrow.key, body=BODIES.get(path))
        check_denied(answer, rule="key_scope", would_allow={"scopes": [scope]})
    enough = worker(scopes=[scope])
    answer = front(method, path, key=enough.key, body=BODIES.get(path))
    assert answer.status in {200, 201, 404}, answer.text


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_only_active_members_may_act(
    front: Front, people: People, admin: Holder, method: str, path: str, scope: str
) -> None:
    assert scope
    holder = people.employee(admin)
    change = {"status": Membership.SUSPENDED.value}
    front("PATCH", f"/admin/identities/{holder.identity_id}", key=admin.key, body=change)
    assert front(method, path, key=holder.key, body=BODIES.get(path)).status == 401


def test_a_service_may_emit_claim_and_acknowledge(
    front: Front, people: People, admin: Holder
) -> None:
    service = people.key_for(admin, people.member(admin, claw_type=ClawType.SERVICE))
    task = emitted(front, service)
    for what in ("claim", "ack"):
        assert act(front, service, what, task).status == 200


# ---- signal_types --------------------------------------------------------------------------------


def test_signal_types_restrict_emitting_and_reading(
    front: Front, admin: Holder, worker: Any
) -> None:
    narrow = worker(permissions={"signal_types": ["task", "pulse"]})
    alert, task = emitted(front, admin, signal_type="alert"), emitted(front, admin)
    pulse = emitted(front, narrow, signal_type="pulse")
    check_denied(
        emit(front, narrow, signal_type="alert"),
        rule="key_scope",
        reasons=["the key's signal_types do not include alert"],
        would_allow={"permissions": {"signal_types": ["alert"]}},
    )
    seen = listed(front, narrow)
    assert {task, pulse} <= seen
    assert alert not in seen
    assert task in listed(front, narrow, type="task")
    check_denied(page(front, narrow, type="alert"), rule="key_scope")
    check_denied(page(front, narrow, type="ping"), rule="key_scope")
    assert show(front, narrow, task).status == 200
    check_unknown(show(front, narrow, alert))
    for what in ("claim", "ack"):
        check_unknown(act(front, narrow, what, alert))
        assert act(front, narrow, what, task).status == 200


# ---- ring_scopes ---------------------------------------------------------------------------------


def test_ring_scopes_restrict_emitting_and_reading(
    front: Front, admin: Holder, worker: Any
) -> None:
    inner, outer, none = (emitted(front, admin, to_ring=ring) for ring in ("inner", "outer", None))
    permissions = {"ring_scopes": ["inner", "middle"]}
    body = {"owner": admin.identity_id, "permissions": permissions}
    made = front("POST", "/admin/api-keys", key=admin.key, body=body).json()["data"]
    # Permission lists restrict an admin's key too.
    bound = Holder(admin.account_id, admin.identity_id, made["id"], made["api_key"])
    for narrow in (worker(permissions=permissions), bound):
        own = emitted(front, narrow, to_ring="middle")
        check_denied(
            emit(front, narrow, to_ring="outer"),
            rule="key_scope",
            reasons=["the key's ring_scopes do not include outer"],
            would_allow={"permissions": {"ring_scopes": ["outer"]}},
        )
        check_denied(
            emit(front, narrow),
            rule="key_scope",
            reasons=["the key's ring_scopes are restricted, and the request names none of them"],
            would_allow={"permissions": {"ring_scopes": ["*"]}},
        )
        seen = listed(front, narrow)
        assert {inner, own} <= seen
        assert not {outer, none} & seen
        assert inner in listed(front, narrow, ring="inner")
        check_denied(
            page(front, narrow, ring="outer"),
            would_allow={"permissions": {"ring_scopes": ["outer"]}},
        )
        assert show(front, narrow, inner).status == 200
        for hidden in (outer, none):
            check_unknown(show(front, narrow, hidden))
            for what in ("claim", "ack"):
                check_unknown(act(front, narrow, what, hidden))
        for what in ("claim", "ack"):
            assert act(front, narrow, what, own).status == 200


def test_a_star_in_ring_scopes_is_the_name_of_a_ring(
    front: Front, admin: Holder, worker: Any
) -> None:
    narrow = worker(permissions={"rings": ["*"]})
    own, other = emitted(front, narrow, to_ring="*"), emitted(front, admin, to_ring="inner")
    check_denied(emit(front, narrow), rule="key_scope")
    check_denied(emit(front, narrow, to_ring="inner"), rule="key_scope")
    assert listed(front, narrow) == {own}
    check_unknown(show(front, narrow, other))


# ---- task_types ----------------------------------------------------------------------------------


def of(kind: str) -> dict[str, Any]:
    return {"metadata": {"task_type": kind}}


def test_task_types_restrict_emitting_and_claiming_of_tasks(
    front: Front, admin: Holder, worker: Any
) -> None:
    narrow = worker(permissions={"task_types": ["count", "sort"]})
    count, weigh = emitted(front, admin, **of("count")), emitted(front, admin, **of("weigh"))
    unnamed, alert = emitted(front, admin), emitted(front, admin, signal_type="alert")
    own = emitted(front, narrow, **of("sort"))
    check_denied(
        emit(front, narrow, **of("weigh")),
        rule="key_scope",
        would_allow={"permissions": {"task_types": ["weigh"]}},
    )
    for metadata in (None, {}, {"task": "count"}):
        check_denied(
            emit(front, narrow, metadata=metadata),
            reasons=["the key's task_types are restricted, and the request names none of them"],
            would_allow={"permissions": {"task_types": ["*"]}},
        )
    emitted(front, narrow, signal_type="alert", metadata={"task_type": "weigh"})
    assert {count, weigh, unnamed, alert, own} <= listed(front, narrow), (
        "task_types do not restrict reading"
    )
    assert show(front, narrow, weigh).status == 200
    for what in ("claim", "ack"):
        for task in (weigh, unnamed):
            check_denied(act(front, narrow, what, task), rule="key_scope")
        for task in (count, own, alert):
            assert act(front, narrow, what, task).status == 200


def test_memory_scopes_do_not_restrict_signals(front: Front, worker: Any) -> None:
    narrow = worker(permissions={"memory_scopes": ["list"]})
    task = emitted(front, narrow, **of("count"))
    for what in ("claim", "ack"):
        assert act(front, narrow, what, task).status == 200
    assert task in listed(front, narrow)


def test_all_permission_lists_apply_together(front: Front, admin: Holder, worker: Any) -> None:
    permissions = {"signal_types": ["task"], "ring_scopes": ["core"], "task_types": ["count"]}
    narrow = worker(permissions=permissions)
    good = emitted(front, narrow, to_ring="core", **of("count"))
    details = check_denied(emit(front, narrow, to_ring="outer", **of("weigh")))
    assert details["would_allow"] == {
        "permissions": {"ring_scopes": ["outer"], "task_types": ["weigh"]}
    }
    emitted(front, admin, signal_type="pulse", to_ring="core")
    other = emitted(front, admin, to_ring="core", **of("weigh"))
    assert listed(front, narrow) == {good, other}
    assert act(front, narrow, "claim", good).status == 200
    check_denied(act(front, narrow, "claim", other))


def test_a_repeat_by_a_narrower_key_does_not_return_the_stored_response(
    front: Front, worker: Any
) -> None:
    """Idempotency-Keys belong to the identity; only a key that may emit gets the response."""
    wide, narrow = worker(), worker(permissions={"ring_scopes": ["inner"]})
    once = {"Idempotency-Key": "shared"}
    made = emit(front, wide, to_ring="outer", headers=once)
    assert made.status == 201
    check_denied(emit(front, narrow, to_ring="outer", headers=once))
    again = emit(front, wide, to_ring="outer", headers=once)
    assert (again.status, again.text) == (201, made.text)
