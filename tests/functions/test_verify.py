"""POST /v1/keys/verify: another product asks about a key that it received."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.core.grants import FULL, Grants, Permissions
from gatehouse.dynamo.table import Tables
from gatehouse.identities.model import ClawType, Membership
from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.aws.faults import Wire
from support.worlds.held_clock import HeldClock

Verify = Callable[..., dict[str, Any]]
LISTS = ("signal_types", "task_types", "ring_scopes", "memory_scopes")
NOTHING_SHOWN = {
    "key_id": None,
    "account_id": None,
    "identity": None,
    "scopes": None,
    "permissions": None,
    "ratelimit": None,
    "expires_at": None,
    "metadata": None,
}


@pytest.fixture
def verify(front: Front, admin: Holder) -> Verify:
    def ask(key: str, **question: Any) -> dict[str, Any]:
        answer = front("POST", "/v1/keys/verify", key=admin.key, body={"key": key, **question})
        assert answer.status == 200, answer.text
        data = answer.json()["data"]
        assert data["valid"] == (data["code"] == "VALID")
        return data

    return ask


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_valid_key_is_described(
    front: Front, people: People, admin: Holder, verify: Verify, shape: str, held: HeldClock
) -> None:
    fields = {
        "scopes": ["agents:*"],
        "permissions": {"signal_types": ["task"], "ring_scopes": ["a"]},
        "rate_limit": 6,
        "expires_at": held.text(seconds=3600),
        "metadata": {"plan": "gold"},
    }
    key = people.key(admin, **fields)
    front.shape = shape
    data = verify(key.key)
    front.shape = "aws"
    assert data == {
        "valid": True,
        "code": "VALID",
        "key_id": key.key_id,
        "account_id": admin.account_id,
        "identity": f"identity:{admin.identity_id}",
        "scopes": ["agents:*"],
        "permissions": {
            "signal_types": ["task"],
            "task_types": [],
            "ring_scopes": ["a"],
            "memory_scopes": [],
        },
        "ratelimit": {"limit": 6, "remaining": 5, "reset": 10},
        "expires_at": held.text(seconds=3600),
        "metadata": {"plan": "gold"},
    }


def test_only_a_valid_answer_counts_as_a_request(
    front: Front, people: People, admin: Holder, verify: Verify, held: HeldClock
) -> None:
    del held
    key = people.key(admin, rate_limit=2, scopes=["agents:read"])
    path = f"/v1/api-keys/{key.key_id}"
    front("PATCH", path, key=admin.key, body={"enabled": False})
    assert verify(key.key)["code"] == "DISABLED"
    front("PATCH", path, key=admin.key, body={"enabled": True})
    assert verify(key.key, scope="agents:write")["code"] == "INSUFFICIENT_SCOPE"
    assert verify(key.key, action="signal:emit")["code"] == "FORBIDDEN"
    assert [verify(key.key)["code"] for _ in range(3)] == ["VALID", "VALID", "RATE_LIMITED"]
    limited = verify(key.key)
    assert limited["ratelimit"] == {"limit": 2, "remaining": 0, "reset": 60}
    assert limited["key_id"] == key.key_id


def test_verifying_and_calling_share_one_rate_limit(
    front: Front, people: People, admin: Holder, verify: Verify, held: HeldClock
) -> None:
    del held
    key = people.key(admin, rate_limit=3)
    assert verify(key.key)["ratelimit"]["remaining"] == 2
    answer = front("GET", "/v1/whoami", key=key.key)
    assert answer.headers["ratelimit-remaining"] == "1"
    assert verify(key.key)["code"] == "VALID"
    assert front("GET", "/v1/whoami", key=key.key).status == 429


def test_the_first_reason_in_the_documented_order_is_the_answer(
    front: Front, people: People, held: HeldClock
) -> None:
    """Each step removes the first reason or adds an earlier one; all later reasons stay."""
    admin = people.tenant()
    key = people.key_for(
        admin,
        people.member(admin),
        scopes=["agents:read"],
        permissions={"ring_scopes": ["a"]},
        rate_limit=1,
        expires_at=held.text(seconds=30),
    )
    path = f"/v1/api-keys/{key.key_id}"

    def code(**question: str) -> str:
        body = {"key": key.key, **question}
        return front("POST", "/v1/keys/verify", key=admin.key, body=body).json()["data"]["code"]

    assert code() == "VALID"  # spends the only request
    wrong = {"scope": "services:read", "ring": "b"}
    assert code() == "RATE_LIMITED"
    assert code(ring="b") == "FORBIDDEN"
    assert code(**wrong) == "INSUFFICIENT_SCOPE"
    front("PATCH", path, key=admin.key, body={"enabled": False})
    assert code(**wrong) == "DISABLED"
    held.advance(seconds=30)
    assert code(**wrong) == "EXPIRED"
    front("DELETE", path, key=admin.key)
    assert code(**wrong) == "REVOKED"


def test_a_key_of_a_suspended_owner_is_disabled(
    people: People, admin: Holder, verify: Verify, stack: Tables
) -> None:
    for membership in Membership:
        if membership is Membership.ACTIVE:
            continue
        key = people.employee(admin)
        # What a suspension writes into each key of the identity.
        for item in stack.keys.client.scan(TableName=stack.keys.name)["Items"]:
            if item["id"]["S"] == key.key_id:
                stack.keys.client.update_item(
                    TableName=stack.keys.name,
                    Key={"pk": item["pk"]},
                    UpdateExpression="SET mem = :m",
                    ExpressionAttributeValues={":m": {"S": membership.value}},
                )
        assert verify(key.key)["code"] == "DISABLED"
        assert people.front("GET", "/v1/whoami", key=key.key).status == 401


def _flipped(text: str) -> str:
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def test_an_unknown_or_foreign_key_is_not_found_and_not_described(
    people: People, admin: Holder, verify: Verify, line: Wire
) -> None:
    stranger = people.tenant()
    line.clear()
    for key in (stranger.key, "", "nonsense", "hk_" + "0" * 72, "é" * 75, "x" * 9000):
        assert verify(key) == {"valid": False, "code": "NOT_FOUND", **NOTHING_SHOWN}
    line.clear()
    assert verify(_flipped(admin.key))["code"] == "NOT_FOUND"
    assert line.calls == ["UpdateItem"], (
        "only the caller's own key; a wrong checksum costs no table call"
    )


@pytest.mark.parametrize(
    ("grants", "question", "code"),
    [
        (FULL, {"scope": "services:write"}, "VALID"),
        (Grants(("agents:write",)), {"scope": "agents:read"}, "INSUFFICIENT_SCOPE"),
        (Grants(("agents:write",)), {"scope": "agents:write"}, "VALID"),
        (Grants(("agents:write",)), {"action": "signal:emit"}, "VALID"),
        (Grants(("agents:read",)), {"action": "signal:emit"}, "FORBIDDEN"),
        (Grants(("agents:*",)), {"action": "federation:claim"}, "FORBIDDEN"),
        (Grants(("agents:*",)), {"action": "admin:manage"}, "FORBIDDEN"),
        (FULL, {"action": "admin:manage"}, "FORBIDDEN"),  # the member is not an admin
        (FULL, {"action": "memory:delete"}, "VALID"),
        (FULL, {"memory_op": "forget"}, "VALID"),
        (Grants(("agents:read",)), {"memory_op": "recall"}, "VALID"),
        (Grants(("agents:read",)), {"memory_op": "store"}, "FORBIDDEN"),
        (Grants(("*",), Permissions(memory_scopes=("list",))), {"memory_op": "list"}, "VALID"),
        (Grants(("*",), Permissions(memory_scopes=("list",))), {"memory_op": "graph"}, "FORBIDDEN"),
        (
            Grants(("*",), Permissions(memory_scopes=("list",))),
            {"action": "memory:export"},
            "FORBIDDEN",
        ),
        (Grants(("*",), Permissions(signal_types=("task",))), {"signal_type": "task"}, "VALID"),
        (
            Grants(("*",), Permissions(signal_types=("task",))),
            {"signal_type": "pulse"},
            "FORBIDDEN",
        ),
        (Grants(("*",), Permissions(task_types=("t",))), {"task_type": "t"}, "VALID"),
        (Grants(("*",), Permissions(task_types=("t",))), {"task_type": "u"}, "FORBIDDEN"),
        (Grants(("*",), Permissions(ring_scopes=("a",))), {"ring": "a"}, "VALID"),
        (Grants(("*",), Permissions(ring_scopes=("a",))), {"ring": "b"}, "FORBIDDEN"),
        (Grants((), Permissions()), {}, "VALID"),
    ],
)
def test_grants_and_rules_decide_about_the_question(
    people: People, admin: Holder, verify: Verify, grants: Grants, question: dict, code: str
) -> None:
    key = people.key_for(
        admin,
        people.member(admin, ceiling=grants),
        scopes=list(grants.scopes),
        permissions={
            name: list(getattr(grants.permissions, name))
            for name in LISTS
            if getattr(grants.permissions, name)
        },
    )
    assert verify(key.key, **question)["code"] == code


def test_the_rules_restrict_a_service(people: People, admin: Holder, verify: Verify) -> None:
    key = people.key_for(admin, people.member(admin, claw_type=ClawType.SERVICE))
    assert verify(key.key, action="signal:emit")["code"] == "VALID"
    for action in ("memory:delete", "memory:export", "federation:ack", "admin:manage"):
        assert verify(key.key, action=action)["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "key is required"),
        ({"key": None}, "key is required"),
        ({"key": 7}, "key must be a string"),
        ({"key": "x", "scope": "bogus"}, "scope must be one of agents:read, "),
        ({"key": "x", "scope": "*"}, "scope must be one of "),
        ({"key": "x", "action": "fly"}, "action must be one of signal:emit, "),
        ({"key": "x", "signal_type": "x"}, "signal_type must be one of pulse, "),
        ({"key": "x", "memory_op": "x"}, "memory_op must be one of store, "),
        ({"key": "x", "ring": 7}, "ring must be a string"),
        ({"key": "x", "task_type": []}, "task_type must be a string"),
    ],
)
def test_an_invalid_question_is_a_400_that_names_the_field(
    front: Front, admin: Holder, body: dict, error: str
) -> None:
    answer = front("POST", "/v1/keys/verify", key=admin.key, body=body)
    assert answer.status == 400
    assert error_text(answer).startswith(error)


def test_verifying_needs_services_read(front: Front, people: People, admin: Holder) -> None:
    for scopes, status in ((["services:read"], 200), (["services:write"], 403), ([], 403)):
        key = people.key(admin, scopes=scopes)
        answer = front("POST", "/v1/keys/verify", key=key.key, body={"key": key.key})
        assert answer.status == status
