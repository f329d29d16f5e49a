"""Peers: trusted, heard, and refused."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from e2e.deployed import Deployed
from e2e.people import Tenant, hire, open_tenant


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def trust(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    body = {"name": "other", "endpoint": "https://other.example/federation/inbound", **fields}
    made = tenant.call("POST", "/federation/trust", json=body)
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def send(tenant: Tenant, peer: dict[str, Any], **changes: Any) -> httpx.Response:
    """Send a signal as the contract has it; `changes` alter one part after it was signed."""
    body = json.dumps(
        {"signal_type": "task", "content": "do it", "from_identity": "agent-7"}
        | changes.get("fields", {})
    ).encode()
    proof = {
        "timestamp": changes.get("timestamp", int(time.time() * 1000)),
        "nonce": changes.get("nonce", uuid.uuid4().hex),
        "body_hash": hashlib.sha256(body).hexdigest(),
    }
    text = "\n".join(("POST", proof["body_hash"], str(proof["timestamp"]), proof["nonce"]))
    secret = changes.get("secret", peer["shared_secret"])
    proof["signature"] = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return tenant.stack.call(
        "POST",
        "/federation/inbound",
        content=changes.get("sent", body),
        headers={
            "Content-Type": "application/json",
            "X-Federation-Peer": changes.get("peer_id", peer["peer_id"]),
            "X-Federation-Proof": changes.get("proof", json.dumps(proof)),
        },
    )


def test_a_peer_is_trusted_with_a_secret_shown_once(tenant: Tenant) -> None:
    peer = trust(tenant)

    assert set(peer) == {"peer_id", "shared_secret", "expires_at"}
    listed = tenant.call("GET", "/admin/peers")
    (view,) = [entry for entry in listed.json()["data"] if entry["id"] == peer["peer_id"]]
    assert set(view) == {
        "id", "name", "endpoint", "status", "allowed_scopes", "expires_at", "created_at",
    }  # fmt: skip
    assert view["status"] == "active"
    items = tenant.stack.client("dynamodb").scan(
        TableName=tenant.stack.outputs["MainTableName"], ConsistentRead=True
    )
    assert peer["shared_secret"] not in listed.text + str(items)


def test_a_peers_signal_is_taken_in_with_a_receipt(tenant: Tenant) -> None:
    peer = trust(tenant)
    received = send(tenant, peer)

    assert received.status_code == 201, received.text
    data = received.json()["data"]
    assert data["signal_id"].startswith("signal:")
    body_hash = hashlib.sha256(received.request.content).hexdigest()
    text = "\n".join(("receipt", data["signal_id"].removeprefix("signal:"), body_hash))
    expected = hmac.new(peer["shared_secret"].encode(), text.encode(), hashlib.sha256)
    assert data["receipt"] == expected.hexdigest()
    event = tenant.events()[-1]
    assert (event["action"], event["actor"]) == ("signal.receive", peer["peer_id"])


def test_a_proof_replayed_late_altered_or_forged_is_refused(tenant: Tenant) -> None:
    peer = trust(tenant)
    now = int(time.time() * 1000)
    assert send(tenant, peer, nonce="once-only-nonce").status_code == 201
    events = len(tenant.events())
    bad = {
        "replayed": {"nonce": "once-only-nonce"},
        "late": {"timestamp": now - 301_000},
        "early": {"timestamp": now + 301_000},
        "altered": {"sent": b'{"signal_type":"task","content":"other","from_identity":"x"}'},
        "forged": {"secret": "0" * 64},
        "another peer": {"peer_id": f"peer:{uuid.uuid4()}"},
        "no peer": {"peer_id": ""},
        "no proof": {"proof": ""},
        "odd proof": {"proof": "[1, 2]"},
        "short nonce": {"nonce": "x"},
        "huge proof": {"proof": "x" * 2_000},
    }
    for name, changes in bad.items():
        refused = send(tenant, peer, **changes)
        assert refused.status_code == 401, name
        assert refused.json()["error"]["code"] == "FEDERATION_INVALID_PROOF", name
    assert len(tenant.events()) == events


def test_a_removed_or_expired_peer_is_refused(tenant: Tenant) -> None:
    peer = trust(tenant)
    removed = tenant.call("DELETE", f"/admin/peers/{peer['peer_id']}")
    assert removed.json()["data"] == {"id": peer["peer_id"], "deleted": True}
    assert send(tenant, peer).status_code == 401
    assert tenant.call("DELETE", f"/admin/peers/{peer['peer_id']}").status_code == 404

    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    passing = trust(tenant, expires_at=soon)
    assert send(tenant, passing).status_code == 201
    deadline = time.monotonic() + 10
    while send(tenant, passing).status_code == 201:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    listed = tenant.call("GET", "/admin/peers").json()["data"]
    assert {entry["id"]: entry["status"] for entry in listed}[passing["peer_id"]] == "expired"


def test_a_peer_sends_only_what_it_may(tenant: Tenant) -> None:
    peer = trust(tenant, allowed_scopes=["signal:pulse"])

    assert send(tenant, peer, fields={"signal_type": "pulse"}).status_code == 201
    refused = send(tenant, peer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        403,
        "FEDERATION_SCOPE_DENIED",
    )


def test_peers_belong_to_one_account_and_need_a_manager(stack: Deployed, tenant: Tenant) -> None:
    peer = trust(tenant)
    stranger = open_tenant(stack)

    assert stranger.call("GET", "/admin/peers").json()["data"] == []
    assert stranger.call("DELETE", f"/admin/peers/{peer['peer_id']}").status_code == 404
    employee = hire(tenant)
    assert stack.call("GET", "/admin/peers", key=employee).status_code == 403


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "http://other.example"},
        {"endpoint": "https://user:pw@other.example"},
        {"endpoint": "https://other.example/#x"},
        {"endpoint": "nonsense"},
        {"endpoint": "https://other.example/\r\nX: y"},
        {"allowed_scopes": ["signal:noise"]},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"name": ""},
    ],
)
def test_a_bad_peer_is_refused(tenant: Tenant, fields: dict[str, Any]) -> None:
    body = {"name": "other", "endpoint": "https://other.example", **fields}

    assert tenant.call("POST", "/federation/trust", json=body).status_code == 400
