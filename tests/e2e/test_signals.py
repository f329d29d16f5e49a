"""Signals on the deployed stack: each request with its answers and refusals."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gatehouse.core import clock
from gatehouse.core.errors import Conflict
from gatehouse.core.grants import FULL
from gatehouse.core.principal import Principal
from gatehouse.core.request import Call
from gatehouse.signals import actions as signals
from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.worlds.deployed_stack import Deployed

NEVER = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
VIEW = {
    "id", "signal_type", "content", "from_identity", "from_role", "to_role", "to_ring",
    "to_identity", "urgency", "tags", "payload", "metadata", "parent_id", "task_status",
    "claimed_by", "claim_expires_at", "delivery_state", "created_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def emit(tenant: Tenant, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = fields.pop("headers", {})
    body = {"signal_type": "task", "content": "do it", **fields}
    return tenant.stack.call("POST", "/emit", key=key or tenant.key, json=body, headers=headers)


def emitted(tenant: Tenant, key: str | None = None, **fields: Any) -> dict[str, Any]:
    made = emit(tenant, key, **fields)
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def act(tenant: Tenant, key: str, what: str, signal_id: str) -> httpx.Response:
    return tenant.stack.call("POST", f"/{what}", key=key, json={"signal_id": signal_id})


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


def test_a_signal_is_emitted_and_shown_with_each_field(tenant: Tenant) -> None:
    fields = {
        "signal_type": "query",
        "content": "wie grüßt man? \u2603",
        "from_role": "asker",
        "to_role": "knower",
        "to_ring": "inner",
        "to_identity": f"identity:{tenant.identity_id}",
        "urgency": 0.9,
        "tags": ["language"],
        "payload": {"n": 1.25, "list": [1, None, "x"]},
        "metadata": {"source": "test"},
        "parent_id": f"signal:{NEVER}",
    }
    made = emit(tenant, **fields)

    assert made.status_code == 201, made.text
    assert made.json()["meta"]["request_id"] == made.headers["x-request-id"]
    data = made.json()["data"]
    assert set(data) == VIEW
    assert {name: data[name] for name in fields} == fields
    assert data["from_identity"] == f"identity:{tenant.identity_id}"
    assert data["delivery_state"] == "pending"
    for path in (f"/signals/{data['id']}", f"/signals/{data['id'].removeprefix('signal:')}"):
        shown = tenant.call("GET", path).json()["data"]
        assert shown | {"delivery_state": "pending"} == data


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"signal_type": "noise"}, "SIGNAL_EMIT_INVALID_TYPE", "signal_type"),
        ({"content": " "}, "VALIDATION_FIELD_REQUIRED", "content"),
        ({"urgency": 1.5}, "VALIDATION_INVALID_VALUE", "urgency"),
        ({"payload": []}, "VALIDATION_INVALID_TYPE", "payload"),
    ],
)
def test_a_bad_field_is_named(
    tenant: Tenant, fields: dict[str, Any], code: str, field: str
) -> None:
    assert check(emit(tenant, **fields), 400, code)["details"] == {"field": field}


def test_a_signal_to_an_identity_of_another_account_is_404(stack: Deployed, tenant: Tenant) -> None:
    for identity in (NEVER, open_tenant(stack).identity_id):
        check(emit(tenant, to_identity=identity), 404, "IDENTITY_NOT_FOUND")


def test_a_request_that_carries_a_delivery_s_id_cannot_emit(tenant: Tenant) -> None:
    headers = {"X-Chorus-Delivery": f"delivery:{NEVER}"}
    check(emit(tenant, headers=headers), 409, "SIGNAL_LOOP")


def test_a_repeat_with_an_idempotency_key_gets_the_first_answer(tenant: Tenant) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    made = emit(tenant, headers=headers)
    again = emit(tenant, headers=headers)

    assert made.status_code == again.status_code == 201
    assert again.content == made.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] != made.headers["x-request-id"]
    check(emit(tenant, headers=headers, content="other"), 409, "IDEMPOTENCY_KEY_REUSED")


def test_parallel_repeats_create_one_signal_and_get_one_answer(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    with ThreadPoolExecutor(4) as pool:  # each request in flight is two processes on the engine
        answers = list(pool.map(lambda _: emit(tenant, headers=headers), range(8)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(tenant.call("GET", "/signals/list").json()["data"]) == 1


def test_signals_are_listed_newest_first_filtered_and_paged(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    every = [
        emitted(tenant, signal_type=kind, to_ring=ring)["id"]
        for kind in ("pulse", "task")
        for ring in ("inner", "outer", "inner")
    ][::-1]

    def listed(**query: Any) -> list[str]:
        ids: list[str] = []
        while True:
            page = tenant.call("GET", "/signals/list", params=query)
            assert page.status_code == 200, page.text
            ids += [one["id"] for one in page.json()["data"]]
            cursor = page.json()["meta"].get("cursor")
            assert page.headers.get("x-next-cursor") == cursor
            if cursor is None:
                return ids
            query["after"] = cursor

    # Signals of the same millisecond have no documented order.
    assert sorted(listed()) == sorted(every)
    assert listed() == sorted(every, reverse=True)
    assert listed(limit=2) == listed()
    assert set(listed(type="task")) == set(every[:3])
    assert set(listed(ring="outer")) == {every[1], every[4]}
    assert listed(type="pulse", ring="outer") == [every[4]]
    for query in ({"type": "noise"}, {"limit": 101}, {"after": "x"}):
        assert tenant.call("GET", "/signals/list", params=query).status_code == 400
    assert open_tenant(stack).call("GET", "/signals/list").json()["data"] == []


def test_a_task_is_claimed_by_one_member_and_acknowledged(tenant: Tenant) -> None:
    task = emitted(tenant)["id"]
    one, other = add_member(tenant), add_member(tenant)

    check(act(tenant, one, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    taken = act(tenant, one, "claim", task)
    assert taken.status_code == 200, taken.text
    data = taken.json()["data"]
    assert data["task_status"] == "claimed"
    assert data["claimed_by"].startswith("identity:")
    assert data["claim_expires_at"] > data["created_at"]
    for what in ("claim", "ack"):
        check(act(tenant, other, what, task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(tenant, one, "claim", task).status_code == 200
    for _ in range(2):
        done = act(tenant, one, "ack", task)
        assert done.status_code == 200
        assert done.json()["data"]["task_status"] == "acked"
        assert done.json()["data"]["delivery_state"] == "acked"
    check(act(tenant, one, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")


def test_of_parallel_claims_one_succeeds(stack: Deployed) -> None:
    tenant = open_tenant(stack)
    workers = [add_member(tenant) for _ in range(4)]
    task = emitted(tenant)["id"]
    for what in ("claim", "ack"):
        with ThreadPoolExecutor(len(workers)) as pool:
            answers = list(pool.map(lambda key, what=what: act(tenant, key, what, task), workers))
        statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [200] + [409] * 3
        winner = statuses.index(200)
        holder = answers[winner].json()["data"]["claimed_by"]
        assert tenant.call("GET", f"/signals/{task}").json()["data"]["claimed_by"] == holder


def test_of_fifty_parallel_claims_on_the_table_one_succeeds(
    stack: Deployed, tenant: Tenant
) -> None:
    """Straight on the engine's table: fifty requests would be a hundred processes here."""
    table = stack.room_table("MainTableName")
    task = emitted(tenant)["id"].removeprefix("signal:")

    def claim(number: int) -> str | None:
        caller = Principal(
            key_id="key",
            account_id=tenant.account_id,
            identity_id=f"worker-{number}",
            key_prefix="hk_0000",
            grants=FULL,
            is_admin=False,
            claw_type="employee",
            membership="active",
            operator=False,
        )
        call = Call(request_id="test", now=clock.now(), principal=caller)
        try:
            return signals.claim(table, call, task).claimed_by
        except Conflict:
            return None

    with ThreadPoolExecutor(50) as pool:
        holders = [one for one in pool.map(claim, range(50)) if one is not None]
    assert len(holders) == 1
    assert tenant.call("GET", f"/signals/{task}").json()["data"]["claimed_by"] == holders[0]


def test_an_unknown_signal_is_404_and_a_bad_id_is_400(stack: Deployed, tenant: Tenant) -> None:
    theirs = emitted(open_tenant(stack))["id"]
    for signal_id in (f"signal:{NEVER}", theirs):
        check(tenant.call("GET", f"/signals/{signal_id}"), 404, "SIGNAL_NOT_FOUND")
        for what in ("claim", "ack"):
            check(act(tenant, tenant.key, what, signal_id), 404, "SIGNAL_NOT_FOUND")
    check(tenant.call("GET", "/signals/x"), 400, "VALIDATION_INVALID_ID")
    for what in ("claim", "ack"):
        check(act(tenant, tenant.key, what, "x"), 400, "VALIDATION_INVALID_VALUE")
        empty = tenant.call("POST", f"/{what}", json={})
        check(empty, 400, "VALIDATION_FIELD_REQUIRED")


def test_each_route_of_signals_needs_its_scope(tenant: Tenant) -> None:
    reader, writer = (
        tenant.make_key(scopes=[f"agents:{verb}"])["key"] for verb in ("read", "write")
    )
    task = emitted(tenant, writer)["id"]
    assert tenant.stack.call("GET", f"/signals/{task}", key=reader).status_code == 200
    denied = [
        emit(tenant, reader),
        act(tenant, reader, "claim", task),
        act(tenant, reader, "ack", task),
        tenant.stack.call("GET", "/signals/list", key=writer),
        tenant.stack.call("GET", f"/signals/{task}", key=writer),
    ]
    for answer in denied:
        assert check(answer, 403, "POLICY_DENIED")["details"]["rule"] == "key_scope"
    for method, path in (("POST", "/emit"), ("POST", "/claim"), ("GET", "/signals/list")):
        assert tenant.stack.call(method, path).status_code == 401


def test_a_key_s_permissions_limit_what_it_emits_sees_and_claims(tenant: Tenant) -> None:
    permissions = {
        "signal_types": ["task", "pulse"],
        "rings": ["inner"],
        "task_types": ["count"],
    }
    body = {"owner": tenant.identity_id, "permissions": permissions}
    made = tenant.call("POST", "/admin/api-keys", json=body)
    narrow = made.json()["data"]["api_key"]
    of_count = {"to_ring": "inner", "metadata": {"task_type": "count"}}

    own = emitted(tenant, narrow, **of_count)["id"]
    for fields, would in (
        ({**of_count, "signal_type": "alert"}, {"signal_types": ["alert"]}),
        ({**of_count, "to_ring": "outer"}, {"ring_scopes": ["outer"]}),
        ({**of_count, "to_ring": None}, {"ring_scopes": ["*"]}),
        ({**of_count, "metadata": {"task_type": "weigh"}}, {"task_types": ["weigh"]}),
        ({"to_ring": "inner"}, {"task_types": ["*"]}),
    ):
        details = check(emit(tenant, narrow, **fields), 403, "POLICY_DENIED")["details"]
        assert details["would_allow"] == {"permissions": would}
        assert set(details) == {"rule", "reasons", "would_allow"}
    hidden = [
        emitted(tenant, signal_type="alert", to_ring="inner")["id"],
        emitted(tenant, to_ring="outer", metadata={"task_type": "count"})["id"],
        emitted(tenant, metadata={"task_type": "count"})["id"],
    ]
    weigh = emitted(tenant, to_ring="inner", metadata={"task_type": "weigh"})["id"]
    seen = tenant.stack.call("GET", "/signals/list", key=narrow).json()["data"]
    assert {own, weigh} <= {one["id"] for one in seen}
    assert not set(hidden) & {one["id"] for one in seen}
    outside = tenant.stack.call("GET", "/signals/list", key=narrow, params={"ring": "outer"})
    check(outside, 403, "POLICY_DENIED")
    for signal_id in hidden:
        check(
            tenant.stack.call("GET", f"/signals/{signal_id}", key=narrow), 404, "SIGNAL_NOT_FOUND"
        )
        check(act(tenant, narrow, "claim", signal_id), 404, "SIGNAL_NOT_FOUND")
    check(act(tenant, narrow, "claim", weigh), 403, "POLICY_DENIED")
    for what in ("claim", "ack"):
        assert act(tenant, narrow, what, own).status_code == 200


def test_the_largest_signal_is_stored_and_a_larger_body_is_413(tenant: Tenant) -> None:
    fields = {
        "content": "x" * 65_536,
        "payload": {"x": "y" * 65_528},
        "metadata": {"x": "z" * 16_376},
        "tags": ["t" * 64] * 50,
    }
    data = emitted(tenant, **fields)
    shown = tenant.call("GET", f"/signals/{data['id']}").json()["data"]
    assert {name: shown[name] for name in fields} == fields
    over = tenant.call("POST", "/emit", content=json.dumps({"content": "x" * 262_144}))
    assert over.status_code == 413
