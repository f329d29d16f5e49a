"""Emitting signals: responses, errors and bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatehouse.core.grants import SIGNAL_TYPES
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.actors.signal_routes import NEVER, act, check, emit, emitted, listed, show
from support.aws.api_gateway import Front
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("held")


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
    stored = [one for one in State(stack).main if one["pk"].startswith("SIGNAL#")]
    (item,) = [one for one in stored if one["sk"] == data["id"][7:]]
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
