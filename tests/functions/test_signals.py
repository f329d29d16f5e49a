"""The routes of signals: responses, errors and bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("held")

NEVER = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
MINUTES = 60
DAYS = 86_400


def emit(front: Front, holder: Holder, **fields: Any) -> Answer:
    body = {"signal_type": "pulse", "content": "it beats", **fields}
    headers = body.pop("headers", None)
    return front("POST", "/emit", key=holder.key, body=body, headers=headers)


def emitted(front: Front, holder: Holder, **fields: Any) -> dict[str, Any]:
    answer = emit(front, holder, **fields)
    assert answer.status == 201, answer.text
    return answer.json()["data"]


def act(front: Front, holder: Holder, what: str, signal: dict[str, Any]) -> Answer:
    return front("POST", f"/{what}", key=holder.key, body={"signal_id": signal["id"]})


def show(front: Front, holder: Holder, signal: dict[str, Any]) -> Answer:
    return front("GET", f"/signals/{signal['id']}", key=holder.key)


def listed(front: Front, holder: Holder, **query: str) -> list[str]:
    answer = front("GET", "/signals/list", key=holder.key, query=query)
    assert answer.status == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def check(answer: Answer, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (status, code), answer.text
    if field is not None:
        assert error["details"] == {"field": field}
    return error


# ---- Emitting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_signal_is_returned_with_every_field_of_the_request(
    front: Front, admin: Holder, held: HeldClock, shape: str
) -> None:
    parent = emitted(front, admin)
    front.shape = shape
    fields = {
        "signal_type": "task",
        "content": "count the grüße \u2603",
        "from_role": "planner",
        "to_role": "worker",
        "to_ring": "inner ring",
        "to_identity": f"identity:{admin.identity_id}",
        "urgency": 0.75,
        "tags": ["one", "two", "one"],
        "payload": {"n": 1.5, "deep": [{"a": None}, True, "x"]},
        "metadata": {"task_type": "count"},
        "parent_id": parent["id"],
    }
    answer = emit(front, admin, **fields)
    front.shape = "aws"
    assert answer.status == 201, answer.text
    data = answer.json()["data"]
    assert data == fields | {
        "id": data["id"],
        "from_identity": f"identity:{admin.identity_id}",
        "task_status": "open",
        "claimed_by": None,
        "claim_expires_at": None,
        "delivery_state": "pending",
        "created_at": held.text(),
    }
    assert data["id"].startswith("signal:")
    assert show(front, admin, data).json()["data"] == data
    assert front("GET", f"/signals/{data['id'][7:]}", key=admin.key).json()["data"] == data


def test_absent_fields_have_their_defaults(front: Front, admin: Holder) -> None:
    data = emitted(front, admin)
    for name in ("from_role", "to_role", "to_ring", "to_identity", "parent_id", "task_status"):
        assert data[name] is None
    assert (data["urgency"], data["tags"], data["payload"], data["metadata"]) == (0.5, [], {}, {})
    nulls = dict.fromkeys(("from_role", "to_ring", "to_identity", "payload", "parent_id"))
    same = emitted(front, admin, **nulls)
    assert {name: same[name] for name in nulls} == {name: data[name] for name in nulls}


@pytest.mark.parametrize("signal_type", SIGNAL_TYPES)
def test_each_of_the_eight_types_can_be_emitted_and_only_a_task_is_open(
    front: Front, admin: Holder, signal_type: str
) -> None:
    data = emitted(front, admin, signal_type=signal_type)
    assert data["task_status"] == ("open" if signal_type == "task" else None)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    *(
        ({"signal_type": bad}, "SIGNAL_EMIT_INVALID_TYPE", "signal_type")
        for bad in ("noise", "ping", "Pulse", "pulse ", "", "*")
    ),
    ({"signal_type": 5}, "VALIDATION_INVALID_TYPE", "signal_type"),
    ({"signal_type": None}, "VALIDATION_FIELD_REQUIRED", "signal_type"),
    *(({"content": bad}, "VALIDATION_FIELD_REQUIRED", "content") for bad in ("", " ", "\n\t")),
    ({"content": "x" * 65_537}, "VALIDATION_INVALID_VALUE", "content"),
    ({"content": ["x"]}, "VALIDATION_INVALID_TYPE", "content"),
    *(
        ({field: bad}, "VALIDATION_INVALID_VALUE", field)
        for field in ("from_role", "to_role", "to_ring")
        for bad in ("", "x" * 65, "a\nb", "a\x00", "\u202e", "\x7f")
    ),
    ({"to_ring": 1}, "VALIDATION_INVALID_TYPE", "to_ring"),
    *(
        ({"to_identity": bad}, "VALIDATION_INVALID_VALUE", "to_identity")
        for bad in ("", "identity:", "agent-7", f"api_key:{NEVER}", f"identity:{NEVER} ")
    ),
    *(
        ({"urgency": bad}, "VALIDATION_INVALID_VALUE", "urgency")
        for bad in (-0.001, 1.001, 2, -1, 1e300)
    ),
    *(
        ({"urgency": bad}, "VALIDATION_INVALID_TYPE", "urgency")
        for bad in (True, False, "0.5", [0.5], {})
    ),
    ({"tags": ["x"] * 51}, "VALIDATION_INVALID_VALUE", "tags"),
    *(({"tags": [bad]}, "VALIDATION_INVALID_VALUE", "tags") for bad in ("", "a\rb")),
    ({"tags": ["x" * 65]}, "VALIDATION_INVALID_VALUE", "tags.0"),
    ({"tags": "one"}, "VALIDATION_INVALID_TYPE", "tags"),
    ({"tags": [1]}, "VALIDATION_INVALID_TYPE", "tags.0"),
    *(
        ({field: bad}, "VALIDATION_INVALID_TYPE", field)
        for field in ("payload", "metadata")
        for bad in ([], "x", 5, True)
    ),
    ({"payload": {"x": "y" * 65_536}}, "VALIDATION_INVALID_VALUE", "payload"),
    ({"metadata": {"x": "\u2603" * 5_462}}, "VALIDATION_INVALID_VALUE", "metadata"),
    *(
        (
            {"signal_type": "task", "metadata": {"task_type": bad}},
            "VALIDATION_INVALID_VALUE",
            "metadata.task_type",
        )
        for bad in ("", "x" * 65, 5, None, ["a"])
    ),
    *(
        ({"parent_id": bad}, "VALIDATION_INVALID_VALUE", "parent_id")
        for bad in ("", "x", f"identity:{NEVER}", f"{{{NEVER}}}")
    ),
]


@pytest.mark.parametrize(("fields", "code", "field"), REFUSED, ids=lambda value: repr(value)[:40])
def test_a_bad_field_is_400_and_named(
    front: Front, admin: Holder, fields: dict[str, Any], code: str, field: str
) -> None:
    check(emit(front, admin, **fields), 400, code, field)
    assert listed(front, admin) == []


@pytest.mark.parametrize("field", ["signal_type", "content"])
def test_type_and_content_are_required(front: Front, admin: Holder, field: str) -> None:
    body = {"signal_type": "pulse", "content": "x"}
    del body[field]
    answer = front("POST", "/emit", key=admin.key, body=body)
    check(answer, 400, "VALIDATION_FIELD_REQUIRED", field)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_allow_are_malformed(
    front: Front, admin: Holder, number: str
) -> None:
    body = f'{{"signal_type": "pulse", "content": "x", "urgency": {number}}}'
    check(front("POST", "/emit", key=admin.key, body=body), 400, "VALIDATION_MALFORMED_JSON")


def test_a_signal_with_every_field_at_its_limit_is_accepted(front: Front, admin: Holder) -> None:
    fields = {
        "content": "x" * 65_536,
        "tags": ["\u2603" * 64] * 50,
        "payload": {"x": "y" * (65_536 - 8)},
        "metadata": {"x": "y" * (16_384 - 8)},
        "urgency": 1,
    }
    data = emitted(front, admin, **fields)
    assert {name: data[name] for name in fields} == fields
    assert show(front, admin, data).json()["data"] == data
    check(emit(front, admin, content="x" * 300_000), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("urgency", "stored_text"),
    [(0, "0"), (-0.0, "0"), (1, "1"), (1.0, "1"), (1e-7, "1e-07"), (0.1, "0.1")],
)
def test_an_urgency_is_returned_as_the_same_number(
    front: Front, admin: Holder, stack: Tables, urgency: float, stored_text: str
) -> None:
    data = emitted(front, admin, urgency=urgency)
    assert data["urgency"] == urgency
    (item,) = [one for one in State(stack).main if one["sk"] == data["id"][7:]]
    assert item["urgency"] == stored_text


def test_to_identity_must_be_an_identity_of_the_account(
    front: Front, people: People, admin: Holder
) -> None:
    stranger = people.tenant()
    for identity in (f"identity:{NEVER}", f"identity:{stranger.identity_id}"):
        check(emit(front, admin, to_identity=identity), 404, "IDENTITY_NOT_FOUND")
    bare = emitted(front, admin, to_identity=admin.identity_id.upper())
    assert bare["to_identity"] == f"identity:{admin.identity_id}"


def test_a_parent_need_not_exist(front: Front, admin: Holder) -> None:
    assert emitted(front, admin, parent_id=NEVER)["parent_id"] == f"signal:{NEVER}"


@pytest.mark.parametrize("header", ["X-Chorus-Delivery", "x-chorus-delivery"])
@pytest.mark.parametrize("value", ["delivery:1", ""])
def test_a_request_with_a_deliverys_header_cannot_emit(
    front: Front, admin: Holder, header: str, value: str
) -> None:
    check(emit(front, admin, headers={header: value}), 409, "SIGNAL_LOOP")
    assert listed(front, admin) == []


# ---- Listing -------------------------------------------------------------------------------------


def test_a_list_is_newest_first_and_continues_from_its_cursor(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    ids = []
    for _ in range(7):
        held.advance(seconds=7 * 3_600)  # over two midnights
        ids.insert(0, emitted(front, admin)["id"])
    assert listed(front, admin) == ids
    for limit in (1, 2, 3, 7):
        listed_ids, query = [], {"limit": str(limit)}
        while True:
            page = front("GET", "/signals/list", key=admin.key, query=query)
            listed_ids += [one["id"] for one in page.json()["data"]]
            cursor = page.json()["meta"].get("cursor")
            assert cursor == page.headers.get("x-next-cursor")
            if cursor is None:
                break
            query["after"] = cursor
        assert listed_ids == ids
    full = front("GET", "/signals/list", key=admin.key, query={"limit": "7"})
    assert "cursor" not in full.json()["meta"]


def test_a_list_is_filtered_by_type_and_ring(front: Front, admin: Holder) -> None:
    made = {
        (kind, ring): emitted(front, admin, signal_type=kind, to_ring=ring)["id"]
        for kind in ("pulse", "task")
        for ring in ("a", "b", None)
    }
    assert set(listed(front, admin)) == set(made.values())
    tasks = {one for (kind, _), one in made.items() if kind == "task"}
    assert set(listed(front, admin, type="task")) == tasks
    in_a = {one for (_, ring), one in made.items() if ring == "a"}
    assert set(listed(front, admin, ring="a")) == in_a
    assert listed(front, admin, type="task", ring="b") == [made["task", "b"]]
    assert listed(front, admin, type="alert") == []
    assert listed(front, admin, type="ping") == []
    assert listed(front, admin, ring="c") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"type": "noise"}, "type"),
        ({"type": ""}, "type"),
        ({"ring": ""}, "ring"),
        ({"ring": "x" * 65}, "ring"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after": "made-up"}, "after"),
    ],
)
def test_a_bad_query_parameter_is_400_and_named(
    front: Front, admin: Holder, query: dict[str, str], field: str
) -> None:
    answer = front("GET", "/signals/list", key=admin.key, query=query)
    assert answer.status == 400
    assert answer.json()["error"]["details"] == {"field": field}


def test_a_cursor_is_valid_for_one_account_and_one_list_only(
    front: Front, people: People, admin: Holder
) -> None:
    stranger = people.tenant()
    for _ in range(2):
        emitted(front, stranger)
        people.key(admin)
    theirs = front("GET", "/signals/list", key=stranger.key, query={"limit": "1"})
    keys = front("GET", "/admin/api-keys", key=admin.key, query={"limit": "1"})
    for page in (theirs, keys):
        query = {"after": page.headers["x-next-cursor"]}
        refused = front("GET", "/signals/list", key=admin.key, query=query)
        check(refused, 400, "VALIDATION_INVALID_VALUE", "after")


def test_a_signal_is_not_found_after_its_retention(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    data = emitted(front, admin, signal_type="task")
    held.advance(seconds=30 * DAYS, micros=-1)
    assert listed(front, admin) == [data["id"]]
    assert show(front, admin, data).status == 200
    held.advance(micros=1)
    assert listed(front, admin) == []
    check(show(front, admin, data), 404, "SIGNAL_NOT_FOUND")
    for what in ("claim", "ack"):
        check(act(front, admin, what, data), 404, "SIGNAL_NOT_FOUND")


# ---- Claiming and acknowledging ------------------------------------------------------------------


def test_a_task_is_claimed_renewed_and_acknowledged(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    task = emitted(front, admin, signal_type="task")
    one, other = people.employee(admin), people.employee(admin)
    check(act(front, one, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    taken = act(front, one, "claim", task).json()["data"]
    assert taken == task | {
        "task_status": "claimed",
        "claimed_by": f"identity:{one.identity_id}",
        "claim_expires_at": held.text(seconds=15 * MINUTES),
    }
    assert show(front, other, task).json()["data"] == taken
    for what in ("claim", "ack"):
        check(act(front, other, what, task), 409, "SIGNAL_CLAIM_CONFLICT")
    held.advance(seconds=10 * MINUTES)
    renewed = act(front, one, "claim", task).json()["data"]
    assert renewed["claim_expires_at"] == held.text(seconds=15 * MINUTES)
    done = act(front, one, "ack", task)
    assert done.status == 200
    assert done.json()["data"] == task | {
        "task_status": "acked",
        "claimed_by": f"identity:{one.identity_id}",
        "delivery_state": "acked",
    }
    held.advance(seconds=DAYS)
    again = act(front, one, "ack", task)
    assert (again.status, again.json()["data"]) == (200, done.json()["data"])
    check(act(front, other, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    for holder in (one, other):
        check(act(front, holder, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")


def test_another_identity_may_claim_after_the_lease_expired(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    task, other = emitted(front, admin, signal_type="task"), people.employee(admin)
    assert act(front, admin, "claim", task).status == 200
    held.advance(seconds=15 * MINUTES, micros=-1)
    check(act(front, other, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert show(front, admin, task).json()["data"]["task_status"] == "claimed"
    held.advance(micros=1)
    assert show(front, admin, task).json()["data"] == task
    check(act(front, admin, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(front, other, "claim", task).status == 200
    check(act(front, admin, "ack", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(front, other, "ack", task).status == 200


def test_another_key_of_the_same_identity_may_acknowledge_the_claim(
    front: Front, people: People, admin: Holder
) -> None:
    task, second = emitted(front, admin, signal_type="task"), people.key(admin)
    assert act(front, admin, "claim", task).status == 200
    assert act(front, second, "ack", task).status == 200


def test_only_the_identity_a_signal_is_addressed_to_may_claim_it(
    front: Front, people: People, admin: Holder
) -> None:
    employee = people.employee(admin)
    task = emitted(front, admin, signal_type="task", to_identity=employee.identity_id)
    check(act(front, admin, "claim", task), 409, "SIGNAL_CLAIM_CONFLICT")
    assert act(front, employee, "claim", task).status == 200


def test_a_signal_of_any_type_may_be_claimed(front: Front, admin: Holder, held: HeldClock) -> None:
    alert = emitted(front, admin, signal_type="alert")
    assert act(front, admin, "claim", alert).json()["data"]["task_status"] == "claimed"
    held.advance(seconds=15 * MINUTES)
    assert show(front, admin, alert).json()["data"]["task_status"] is None


@pytest.mark.parametrize("what", ["claim", "ack"])
def test_claim_and_ack_require_a_signal_id(front: Front, admin: Holder, what: str) -> None:
    def post(body: Any) -> Answer:
        return front("POST", f"/{what}", key=admin.key, body=body)

    check(post({}), 400, "VALIDATION_FIELD_REQUIRED", "signal_id")
    check(post({"signal_id": 5}), 400, "VALIDATION_INVALID_TYPE", "signal_id")
    for odd in ("", "x", f"identity:{NEVER}", "signal:"):
        check(post({"signal_id": odd}), 400, "VALIDATION_INVALID_VALUE", "signal_id")
    for unknown in (NEVER, "ffffffff-ffff-4fff-bfff-ffffffffffff"):
        check(post({"signal_id": unknown}), 404, "SIGNAL_NOT_FOUND")


@pytest.mark.parametrize("odd", ["x", "identity:x", f"identity:{NEVER}", "signal:", "lists"])
def test_a_malformed_id_is_400(front: Front, admin: Holder, odd: str) -> None:
    check(front("GET", f"/signals/{odd}", key=admin.key), 400, "VALIDATION_INVALID_ID", "id")


def test_signals_of_another_account_are_not_found(
    front: Front, people: People, admin: Holder
) -> None:
    stranger = people.tenant()
    task = emitted(front, admin, signal_type="task", content="their-own-signal")
    texts = set()
    for signal in (task, {"id": f"signal:{NEVER}"}):
        answers = [show(front, stranger, signal)]
        answers += [act(front, stranger, what, signal) for what in ("claim", "ack")]
        for answer in answers:
            check(answer, 404, "SIGNAL_NOT_FOUND")
            texts.add(answer.text.replace(answer.request_id, ""))
    assert len(texts) == 1
    page = front("GET", "/signals/list", key=stranger.key)
    assert page.json()["data"] == []
    assert show(front, admin, task).json()["data"] == task


def test_a_peers_signal_is_listed_with_origin_peer(
    front: Front, admin: Holder, settings_key: str
) -> None:
    from support.actors.signers import proven  # noqa: PLC0415 - brings the wallets along

    assert settings_key
    body = {"name": "other", "endpoint": "https://other.example/in"}
    peer = front("POST", "/federation/trust", key=admin.key, body=body).json()["data"]
    sent, headers = proven(peer)
    taken = front("POST", "/federation/inbound", body=sent, headers=headers).json()["data"]
    signal = {"id": taken["signal_id"]}
    data = show(front, admin, signal).json()["data"]
    assert (data["from_identity"], data["origin_peer"]) == ("agent-7", peer["peer_id"])
    assert (data["task_status"], data["delivery_state"]) == ("open", "pending")
    assert listed(front, admin) == [signal["id"]]
    assert act(front, admin, "claim", signal).status == 200


def test_a_peer_cannot_send_a_signal_in_the_name_of_an_admin(
    front: Front, admin: Holder, settings_key: str
) -> None:
    from support.actors.signers import proven  # noqa: PLC0415 - brings the wallets along

    assert settings_key
    body = {"name": "other", "endpoint": "https://other.example/in"}
    peer = front("POST", "/federation/trust", key=admin.key, body=body).json()["data"]
    for name in (f"identity:{admin.identity_id}", "system:gatehouse"):
        sent, headers = proven(peer, from_identity=name)
        taken = front("POST", "/federation/inbound", body=sent, headers=headers)
        assert taken.status == 201
        data = show(front, admin, {"id": taken.json()["data"]["signal_id"]}).json()["data"]
        assert data["from_identity"] == f"{peer['peer_id']}/{name}"
        query = {"action": "signal.receive"}
        audit = front("GET", "/admin/audit", key=admin.key, query=query).json()["data"]
        assert audit["events"][0]["after"]["from_identity"] == data["from_identity"]


def test_emitting_writes_no_audit_event(front: Front, admin: Holder, stack: Tables) -> None:
    before = len(State(stack).events(admin.account_id))
    task = emitted(front, admin, signal_type="task")
    for what in ("claim", "ack"):
        assert act(front, admin, what, task).status == 200
    assert len(State(stack).events(admin.account_id)) == before
    assert json.dumps(task)
