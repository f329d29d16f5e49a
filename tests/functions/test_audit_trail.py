"""GET /admin/audit: who changed what. GET /admin/policy: the rules."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gatehouse.audit import rules
from gatehouse.audit.model import MOST_WRITES, Head
from gatehouse.core.request import unique_id
from support.actors.people import Holder, People
from support.aws.api_gateway import Front, extended_id
from support.worlds.held_clock import HeldClock

FIELDS = {
    *("id", "seq", "action", "actor", "via", "target", "source_address", "request_id"),
    *("created_at", "before", "after", "prev_hash", "hash"),
}


def _trail(front: Front, admin: Holder, **query: str) -> list[dict[str, Any]]:
    """Read all pages, newest first."""
    found: list[dict[str, Any]] = []
    while True:
        answer = front("GET", "/admin/audit", key=admin.key, query=query)
        assert answer.status == 200, answer.text
        data = answer.json()["data"]
        assert set(data) == {"events", "cursor", "has_more", "head", "machine_head"}
        assert data["has_more"] == (data["cursor"] is not None)
        assert answer.json()["meta"].get("cursor") == data["cursor"]
        assert answer.headers.get("x-next-cursor") == data["cursor"]
        found += data["events"]
        if data["cursor"] is None:
            return found
        query["after"] = data["cursor"]


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"requestId": "chosen by the caller", "extendedRequestId": "E1="}, "E1="),
        ({"requestId": "r1", "extendedRequestId": ""}, "r1"),
        ({"requestId": "r1"}, "r1"),
    ],
)
def test_the_unique_id_of_a_request_is_the_extended_one(
    context: dict[str, str], expected: str
) -> None:
    assert unique_id(context) == expected


def test_creating_an_account_writes_audit_events(front: Front) -> None:
    made = front("POST", "/v1/accounts", body={"name": "Acme"}).json()["data"]
    key = made["api_key"]["key"]
    me = front("GET", "/v1/whoami", key=key).json()["data"]["identity"]["id"]
    admin = Holder(made["account"]["id"], me, made["api_key"]["id"], key)
    events = _trail(front, admin)
    assert [event["action"] for event in events] == [
        "api_key.create",
        "identity.create",
        "account.create",
    ]
    assert [event["seq"] for event in events] == [3, 2, 1]
    for event in events:
        assert set(event) == FIELDS
        assert re.fullmatch(r"audit:[0-9a-f-]{36}", event["id"])
        assert event["actor"] == "anonymous"
        assert event["via"] is None
        assert event["source_address"] == "203.0.113.7"
        assert event["before"] is None
    assert events[2]["after"] == {"name": "Acme", "plan": "free", "operator": False}
    assert events[1]["target"] == f"identity:{admin.identity_id}"
    assert events[0]["target"] == f"api_key:{admin.key_id}"


def test_every_change_of_a_key_writes_an_event_with_before_and_after(
    front: Front, people: People
) -> None:
    admin = people.tenant()
    source = "198.51.100.23"

    def did(method: str, path: str, body: Any = None) -> tuple[Any, dict[str, Any]]:
        headers = {"X-Forwarded-For": "192.0.2.66", "X-Real-IP": "192.0.2.66"}
        answer = front(method, path, key=admin.key, body=body, source=source, headers=headers)
        assert answer.status in {200, 201, 204}
        event = _trail(front, admin)[0]
        assert event["request_id"] == extended_id(answer.request_id)
        assert event["source_address"] == source, "a caller's headers never set it"
        assert event["actor"] == f"identity:{admin.identity_id}"
        assert event["via"] == f"api_key:{admin.key_id}"
        return answer.json()["data"] if answer.text else None, event

    made, event = did("POST", "/v1/api-keys", {"name": "one", "rate_limit": 10})
    assert (event["action"], event["target"]) == ("api_key.create", f"api_key:{made['id']}")
    assert event["before"] is None
    assert (event["after"]["name"], event["after"]["rate_limit"]) == ("one", 10)
    created = event["after"]

    _, event = did("PATCH", f"/v1/api-keys/{made['id']}", {"name": "two", "enabled": False})
    assert event["action"] == "api_key.update"
    assert event["before"] == created
    assert event["after"] == {**created, "name": "two", "enabled": False}
    patched = event["after"]

    new, event = did("POST", f"/v1/api-keys/{made['id']}/rotate", {"grace_seconds": 60})
    assert event["action"] == "api_key.rotate"
    assert event["target"] == f"api_key:{made['id']}"
    assert event["before"] == patched
    assert event["after"]["successor"] == f"api_key:{new['id']}"
    assert event["after"]["old_revoked_at"] > event["created_at"]

    _, event = did("DELETE", f"/v1/api-keys/{new['id']}")
    assert (event["action"], event["target"]) == ("api_key.revoke", f"api_key:{new['id']}")
    assert event["before"]["revoked_at"] is None
    assert event["after"] == {**event["before"], "revoked_at": event["created_at"]}


def test_the_trail_read_over_the_api_verifies(front: Front, people: People) -> None:
    admin = people.tenant()
    for _ in range(6):
        people.key(admin)
    events = _trail(front, admin, limit="2")[::-1]
    assert len(events) == 9
    assert rules.verify(events) == []


def test_a_refused_request_writes_no_event(front: Front, people: People) -> None:
    admin = people.tenant()
    before = _trail(front, admin)
    for method, path, body in (
        ("POST", "/v1/api-keys", {"name": ""}),
        ("POST", "/v1/api-keys", {"name": "x", "rate_limit": None}),
        ("PATCH", f"/v1/api-keys/{admin.key_id}", {"rate_limit": 60_000}),
        ("DELETE", "/v1/api-keys/nope", None),
    ):
        assert front(method, path, key=admin.key, body=body).status >= 400
    assert _trail(front, admin) == before


def test_events_are_filtered_by_action_and_actor(front: Front, people: People) -> None:
    admin = people.tenant()
    employee = people.employee(admin)
    for holder in (admin, employee, admin, employee, employee):
        key = people.key(holder)
        front("DELETE", f"/v1/api-keys/{key.key_id}", key=holder.key)
    theirs = f"identity:{employee.identity_id}"
    for limit in ("1", "2", "100"):
        assert len(_trail(front, admin, limit=limit, action="api_key.revoke")) == 5
        assert len(_trail(front, admin, limit=limit, actor=theirs)) == 6
        both = _trail(front, admin, limit=limit, action="api_key.create", actor=theirs)
        assert len(both) == 3
        assert {(e["action"], e["actor"]) for e in both} == {("api_key.create", theirs)}
    assert _trail(front, admin, action="nothing.like.it") == []


def test_a_page_has_50_events_by_default(front: Front, people: People) -> None:
    admin = people.tenant()
    for _ in range(50):
        people.key(admin)
    for query, size in (({}, 50), ({"limit": "100"}, 53), ({"limit": "7"}, 7)):
        answer = front("GET", "/admin/audit", key=admin.key, query=query)
        assert len(answer.json()["data"]["events"]) == size


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "x"},
        {"after": "x"},
        {"action": "x" * 65},
        {"actor": "x" * 129},
    ],
)
def test_an_invalid_query_parameter_is_a_400_that_names_it(
    front: Front, people: People, query: dict[str, str]
) -> None:
    admin = people.tenant()
    answer = front("GET", "/admin/audit", key=admin.key, query=query)
    assert answer.status == 400
    assert answer.json()["error"]["details"]["field"] == next(iter(query))


def test_the_policy_lists_its_five_rules_in_order(front: Front, people: People) -> None:
    answer = front("GET", "/admin/policy", key=people.tenant().key)
    assert answer.status == 200
    rules = answer.json()["data"]["rules"]
    assert [(rule["order"], rule["name"], rule["effect"]) for rule in rules] == [
        (1, "admin_bypass", "allow"),
        (2, "membership_required", "deny"),
        (3, "service_claw_restriction", "deny"),
        (4, "admin_action_restriction", "deny"),
        (5, "default_allow", "allow"),
    ]
    assert all(rule["description"].endswith(".") for rule in rules)


def test_both_chains_are_one_list_or_read_one_at_a_time(front: Front, people: People) -> None:
    admin = people.tenant()
    for name in ("one", "two", "three"):
        invite = {"name": name, "type": "human", "long": True}
        code = front("POST", "/invite/create", key=admin.key, body=invite).json()["data"]["code"]
        redeemed = {"code": code, "name": name, "type": "human"}
        assert front("POST", "/invite", body=redeemed).status == 201
    both = _trail(front, admin)
    assert [event["id"] for event in both] == sorted((one["id"] for one in both), reverse=True)
    assert _trail(front, admin, limit="1") == _trail(front, admin, limit="2") == both
    for chain, expected in (("administration", 3 + 3), ("machine", 3 * 3)):
        events = _trail(front, admin, chain=chain)
        assert len(events) == expected
        assert {event.get("chain", "administration") for event in events} == {chain}
        assert events == [one for one in both if one.get("chain", "administration") == chain]
        answer = front("GET", "/admin/audit", key=admin.key, query={"chain": chain})
        head = answer.json()["data"]["head"]
        assert rules.verify(events[::-1], Head(head["seq"], head["hash"])) == []
    assert answer.json()["data"]["machine_head"] == head
    refused = front("GET", "/admin/audit", key=admin.key, query={"chain": "both"})
    assert refused.status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/api-keys", {"name": "x"}), ("/api/auth/keys", {"name": "x"})],
)
def test_a_member_makes_sixty_changes_a_minute_and_ends_things_always(
    front: Front, people: People, held: HeldClock, path: str, body: dict[str, str]
) -> None:
    admin = people.tenant()
    member, other = people.employee(admin), people.employee(admin)
    held.advance(seconds=60)
    made = [front("POST", path, key=member.key, body=body) for _ in range(MOST_WRITES)]
    assert {one.status for one in made} == {201}
    refused = front("POST", path, key=member.key, body=body)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"].startswith("Members who are not admins")
    key_id = made[0].json().get("id") or made[0].json()["data"]["id"]
    assert front("DELETE", f"/v1/api-keys/{key_id}", key=member.key).status == 204
    for key in (other.key, admin.key):
        assert front("POST", path, key=key, body=body).status == 201
    held.advance(seconds=int(refused.headers["retry-after"]))
    assert front("POST", path, key=member.key, body=body).status == 201
