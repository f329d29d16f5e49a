"""Idempotency-Key of a peer: a repeat stores nothing and returns the first answer."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.actors.signers import proven
from support.aws.api_gateway import Front
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key")

Peer = dict[str, Any]


def trusted(front: Front, admin: Holder) -> Peer:
    body = {"name": "other", "endpoint": "https://other.example/federation/inbound"}
    return front("POST", "/federation/trust", key=admin.key, body=body).json()["data"]


def send(front: Front, peer: Peer, token: str, *, source: str, **fields: str) -> Answer:
    """Send a signal with a new proof, under an Idempotency-Key."""
    body, headers = proven(peer, **fields)
    headers["Idempotency-Key"] = token
    return front("POST", "/federation/inbound", body=body, headers=headers, source=source)


def stored(stack: Tables, prefix: str) -> int:
    return sum(item["pk"].startswith(prefix) for item in State(stack).main)


def test_a_repeat_of_a_peer_returns_the_first_answer_from_any_address(
    front: Front, admin: Holder, stack: Tables, held: HeldClock
) -> None:
    peer = trusted(front, admin)
    first = send(front, peer, "one", source="203.0.113.1")
    assert first.status == 201
    assert "idempotent-replayed" not in first.headers
    signals = stored(stack, "SIGNAL#")

    held.advance(seconds=86_399)
    again = send(front, peer, "one", source="203.0.113.2")
    assert (again.status, again.text) == (201, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    other = send(front, peer, "one", source="203.0.113.1", content="another")
    assert (other.status, other.json()["error"]["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert stored(stack, "SIGNAL#") == signals

    held.advance(seconds=1)
    assert send(front, peer, "one", source="203.0.113.1").text != first.text
    assert stored(stack, "SIGNAL#") == signals + 1


def test_the_same_idempotency_key_of_two_peers_is_two_signals(front: Front, admin: Holder) -> None:
    answers = [send(front, trusted(front, admin), "shared", source="203.0.113.1") for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json()["data"] != answers[1].json()["data"]


def test_a_wrong_proof_gets_no_stored_answer(front: Front, admin: Holder) -> None:
    peer = trusted(front, admin)
    assert send(front, peer, "mine", source="203.0.113.1").status == 201

    forged = send(front, peer | {"shared_secret": "0" * 64}, "mine", source="203.0.113.1")
    removed = front("DELETE", f"/admin/peers/{peer['peer_id']}", key=admin.key)

    assert (forged.status, removed.status) == (401, 200)
    assert send(front, peer, "mine", source="203.0.113.1").status == 401
