"""Peers through the front door: trust, send, remove; every bad proof is the same 401."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.actors.signers import proven
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, unreachable
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "held")


def trust(front: Front, admin: Holder, **fields: Any) -> Answer:
    body = {"name": "other", "endpoint": "https://other.example/federation/inbound", **fields}
    headers = body.pop("headers", None)
    return front("POST", "/federation/trust", key=admin.key, body=body, headers=headers)


def trusted(front: Front, admin: Holder, **fields: Any) -> dict[str, Any]:
    answer = trust(front, admin, **fields)
    assert answer.status == 201, answer.text
    return answer.json()["data"]


def send(front: Front, body: Any, headers: dict[str, str]) -> Answer:
    return front("POST", "/federation/inbound", body=body, headers=headers)


def check_refused(answer: Answer, why: str = "") -> None:
    assert answer.status == 401, why
    refusal = answer.json()["error"]
    assert (refusal["code"], refusal["details"]) == ("FEDERATION_INVALID_PROOF", {}), why


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_peer_is_trusted_sends_and_is_removed(
    front: Front, admin: Holder, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    peer = trusted(front, admin, expires_at=held.text(seconds=3600))
    assert set(peer) == {"peer_id", "shared_secret", "expires_at"}
    body, headers = proven(peer)
    sent = send(front, body, headers)
    assert sent.status == 201, sent.text
    data = sent.json()["data"]
    digest = hashlib.sha256(body.encode()).hexdigest()
    text = "\n".join(("receipt", data["signal_id"].removeprefix("signal:"), digest))
    receipt = hmac.new(peer["shared_secret"].encode(), text.encode(), hashlib.sha256).hexdigest()
    assert data["receipt"] == receipt
    listed = front("GET", "/admin/peers", key=admin.key)
    front.shape = "aws"
    assert listed.json()["data"] == [
        {
            "id": peer["peer_id"],
            "name": "other",
            "endpoint": "https://other.example/federation/inbound",
            "status": "active",
            "allowed_scopes": ["signal:*"],
            "expires_at": held.text(seconds=3600),
            "rate_limit": 6_000,
            "created_by": f"identity:{admin.identity_id}",
            "created_by_key": f"api_key:{admin.key_id}",
            "created_at": held.text(),
        }
    ]
    removed = front("DELETE", f"/admin/peers/{peer['peer_id']}", key=admin.key)
    assert removed.json()["data"] == {"id": peer["peer_id"], "deleted": True}
    check_refused(send(front, *proven(peer)))
    again = front("DELETE", f"/admin/peers/{peer['peer_id']}", key=admin.key)
    assert (again.status, again.json()["error"]["code"]) == (404, "PEER_NOT_FOUND")
    query = {"chain": "machine"}
    trail = front("GET", "/admin/audit", key=admin.key, query=query).json()["data"]
    event = trail["events"][0]
    assert (event["action"], event["actor"]) == ("signal.receive", peer["peer_id"])


def test_the_proof_covers_the_bytes_of_the_body_as_sent(front: Front, admin: Holder) -> None:
    peer = trusted(front, admin)
    body, headers = proven(peer, content="grüße")
    assert send(front, body.encode(), headers).status == 201
    body, headers = proven(peer)
    check_refused(send(front, body.replace(": ", ":"), headers), "the same JSON, other bytes")


def test_every_bad_proof_returns_the_same_401(front: Front, admin: Holder, held: HeldClock) -> None:
    peer, other = trusted(front, admin), trusted(front, admin)
    body, headers = proven(peer)
    assert send(front, body, headers).status == 201
    check_refused(send(front, body, headers), "replayed")
    body, headers = proven(peer)
    proof = json.loads(headers["X-Federation-Proof"])

    def with_proof(**fields: Any) -> dict[str, str]:
        return headers | {"X-Federation-Proof": json.dumps(proof | fields)}

    later, digest = proof["timestamp"] + 1, hashlib.sha256(b"{}").hexdigest()
    for why, changed in {
        "another peer": headers | {"X-Federation-Peer": other["peer_id"]},
        "no such peer": headers | {"X-Federation-Peer": f"peer:{admin.account_id}"},
        "no peer": {"X-Federation-Proof": headers["X-Federation-Proof"]},
        "malformed peer": headers | {"X-Federation-Peer": "peer:x"},
        "no proof": {"X-Federation-Peer": peer["peer_id"]},
        "malformed proof": headers | {"X-Federation-Proof": "[1, 2]"},
        "altered time": with_proof(timestamp=later),
        "altered nonce": with_proof(nonce="another-nonce"),
        "altered hash": with_proof(body_hash=digest),
        "altered signature": with_proof(signature="0" * 64),
        "signature in capitals": with_proof(signature=proof["signature"].upper()),
        "a timestamp as a string": with_proof(timestamp=str(proof["timestamp"])),
        "forged": proven(peer | {"shared_secret": other["shared_secret"]})[1],
    }.items():
        check_refused(send(front, body, changed), why)
    held.advance(seconds=300)
    assert send(front, body, headers).status == 201, (
        "valid to the last moment, and no refusal used the nonce"
    )
    late, headers = proven(peer)
    held.advance(seconds=300, micros=1_000)
    check_refused(send(front, late, headers), "late")
    held.advance(seconds=-600, micros=-2_000)
    check_refused(send(front, late, headers), "early")


def test_an_expired_peer_is_listed_as_expired_and_refused(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    peer = trusted(front, admin, expires_at=held.text(seconds=60))
    held.advance(seconds=60)
    check_refused(send(front, *proven(peer)))
    (view,) = front("GET", "/admin/peers", key=admin.key).json()["data"]
    assert view["status"] == "expired"


def test_a_peer_can_send_only_its_scopes_and_valid_signals(front: Front, admin: Holder) -> None:
    peer = trusted(front, admin, allowed_scopes=["signal:pulse"])
    assert send(front, *proven(peer, signal_type="pulse")).status == 201
    for other in ("task", "*", "noise"):
        refused = send(front, *proven(peer, signal_type=other))
        assert (refused.status, refused.json()["error"]["code"]) == (403, "FEDERATION_SCOPE_DENIED")
    for fields, code in (
        ({"signal_type": "noise"}, "SIGNAL_EMIT_INVALID_TYPE"),
        ({"content": ""}, "VALIDATION_FIELD_REQUIRED"),
        ({"content": 5}, "VALIDATION_INVALID_TYPE"),
        ({"from_identity": "n" * 201}, "VALIDATION_INVALID_VALUE"),
    ):
        refused = send(front, *proven(trusted(front, admin), **fields))
        assert (refused.status, refused.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"endpoint": "http://other.example"}, "endpoint"),
        ({"endpoint": "https://u:p@other.example"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"allowed_scopes": ["signal:noise"]}, "allowed_scopes"),
        ({"allowed_scopes": "signal:*"}, "allowed_scopes"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
    ],
)
def test_the_error_for_a_bad_peer_names_its_field(
    front: Front, admin: Holder, fields: dict[str, Any], field: str
) -> None:
    refused = trust(front, admin, **fields)
    assert (refused.status, refused.json()["error"]["details"]["field"]) == (400, field)


def test_only_managers_of_the_account_can_manage_its_peers(
    front: Front, people: People, admin: Holder
) -> None:
    peer, stranger = trusted(front, admin), people.tenant()
    employee = people.employee(admin)
    assert trust(front, employee).status == 403
    assert front("GET", "/admin/peers", key=employee.key).status == 403
    path = f"/admin/peers/{peer['peer_id']}"
    assert front("DELETE", path, key=employee.key).status == 403
    assert front("GET", "/admin/peers", key=stranger.key).json()["data"] == []
    assert front("DELETE", path, key=stranger.key).status == 404
    assert front("DELETE", "/admin/peers/x", key=admin.key).status == 400
    assert send(front, *proven(peer)).status == 201


def test_a_repeated_trust_names_the_peer_without_its_secret(front: Front, admin: Holder) -> None:
    once = {"Idempotency-Key": "once"}
    peer = trusted(front, admin, headers=once)
    again = trust(front, admin, headers=once)
    assert again.status == 409
    assert again.json()["error"]["details"] == {"id": peer["peer_id"]}
    assert peer["shared_secret"] not in again.text


@pytest.mark.parametrize("failure", [unreachable, lambda: error("KMSInternalException", 500)])
def test_while_kms_is_unavailable_peers_get_503_and_nothing_is_stored(
    front: Front, admin: Holder, stack: Tables, kms: Wire, failure: Any
) -> None:
    peer = trusted(front, admin)
    before = State(stack).main
    kms.before = lambda *_: failure()
    assert trust(front, admin).status == 503
    body, headers = proven(peer)
    assert send(front, body, headers).status == 503
    assert State(stack).main == before
    kms.clear()
    assert send(front, body, headers).status == 201


def test_a_shared_secret_is_only_in_the_answer_that_creates_it(
    front: Front, admin: Holder, stack: Tables, logs: io.StringIO
) -> None:
    peer = trusted(front, admin)
    secret = peer["shared_secret"]
    answers = [send(front, *proven(peer)), front("GET", "/admin/peers", key=admin.key)]
    answers += [front("GET", "/admin/audit", key=admin.key), send(front, "{}", {})]
    written = json.dumps(State(stack).main, default=repr) + logs.getvalue()
    everything = written + "".join(answer.text for answer in answers)
    assert peer["peer_id"] in everything, "the search reads what is there"
    marks = [secret[start : start + 12] for start in range(0, 52, 4)]
    assert [mark for mark in marks if mark in everything] == []


def test_a_peer_has_the_rate_limit_of_the_key_that_trusted_it(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    slow = people.key(admin, rate_limit=3)
    peer = trusted(front, slow)
    (view,) = front("GET", "/admin/peers", key=admin.key).json()["data"]
    assert view["rate_limit"] == 3
    for _ in range(3):
        assert send(front, *proven(peer)).status == 201
    over = send(front, *proven(peer))
    assert (over.status, over.json()["error"]["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert over.headers["retry-after"] == "20"
    check_refused(
        send(front, *proven(peer | {"shared_secret": "f" * 64})), "without a proof no limit is told"
    )
    held.advance(seconds=19.999999)
    assert send(front, *proven(peer)).status == 429
    held.advance(micros=1)
    assert send(front, *proven(peer)).status == 201
    assert send(front, *proven(peer)).status == 429
    held.advance(seconds=60)
    assert [send(front, *proven(peer)).status for _ in range(4)] == [201, 201, 201, 429]


def test_a_peer_of_a_key_without_limit_has_the_stacks_default(front: Front, admin: Holder) -> None:
    trusted(front, admin)
    (view,) = front("GET", "/admin/peers", key=admin.key).json()["data"]
    assert view["rate_limit"] == 6_000


def test_a_refused_signal_is_not_counted(front: Front, people: People, admin: Holder) -> None:
    peer = trusted(front, people.key(admin, rate_limit=1), allowed_scopes=["signal:pulse"])
    assert send(front, *proven(peer, signal_type="task")).status == 403
    assert send(front, *proven(peer, signal_type="pulse", content="")).status == 400
    assert send(front, *proven(peer, signal_type="pulse")).status == 201
    assert send(front, *proven(peer, signal_type="pulse")).status == 429


def test_a_replayed_signal_is_not_counted(front: Front, people: People, admin: Holder) -> None:
    peer = trusted(front, people.key(admin, rate_limit=2))
    sent = proven(peer)
    assert send(front, *sent).status == 201
    check_refused(send(front, *sent))
    assert send(front, *proven(peer)).status == 201
