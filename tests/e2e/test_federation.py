"""Peers on the deployed stack: trusted, heard, refused."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from support.actors.deployed_tenant import Tenant, add_member, open_tenant
from support.actors.signers import peer_receipt, peer_request
from support.worlds.deployed_stack import Deployed


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def trust(tenant: Tenant, **fields: Any) -> dict[str, Any]:
    body = {"name": "other", "endpoint": "https://other.example/federation/inbound", **fields}
    made = tenant.call("POST", "/federation/trust", json=body)
    assert made.status_code == 201, made.text
    data: dict[str, Any] = made.json()["data"]
    return data


def send(
    tenant: Tenant, peer: dict[str, Any], *, signal_type: str = "task", **parts: Any
) -> httpx.Response:
    """Send a signal as the peer; `parts` alter the proof as `peer_request` describes."""
    signal = {"signal_type": signal_type, "content": "do it", "from_identity": "agent-7"}
    body, headers = peer_request(peer, body=json.dumps(signal).encode(), **parts)
    return tenant.stack.call(
        "POST",
        "/federation/inbound",
        content=body,
        headers=headers | {"Content-Type": "application/json"},
    )


def test_a_trusted_peer_is_listed_and_its_secret_is_shown_once(tenant: Tenant) -> None:
    peer = trust(tenant)

    assert set(peer) == {"peer_id", "shared_secret", "expires_at"}
    listed = tenant.call("GET", "/admin/peers")
    (view,) = [entry for entry in listed.json()["data"] if entry["id"] == peer["peer_id"]]
    assert set(view) >= {
        "id", "name", "endpoint", "status", "allowed_scopes", "expires_at", "created_at",
    }  # fmt: skip
    assert view["status"] == "active"
    items = tenant.stack.client("dynamodb").query(
        TableName=tenant.stack.outputs["MainTableName"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"SECRET#{tenant.account_id}"}},
        ConsistentRead=True,
    )
    assert items["Count"] > 0
    assert peer["shared_secret"] not in listed.text + str(items)


def test_a_peer_s_signal_is_stored_and_answered_with_a_receipt(tenant: Tenant) -> None:
    peer = trust(tenant)
    received = send(tenant, peer)

    assert received.status_code == 201, received.text
    data = received.json()["data"]
    assert data["signal_id"].startswith("signal:")
    assert data["receipt"] == peer_receipt(peer, data["signal_id"], received.request.content)
    event = tenant.events()[-1]
    assert (event["action"], event["actor"]) == ("signal.receive", peer["peer_id"])


def test_each_bad_proof_is_the_same_401_and_changes_nothing(tenant: Tenant) -> None:
    peer = trust(tenant)
    now = int(time.time() * 1000)
    assert send(tenant, peer, nonce="once-only-nonce").status_code == 201
    events = len(tenant.events())
    bad = {
        "replayed": {"nonce": "once-only-nonce"},
        "late": {"timestamp": now - 301_000},
        "altered": {"sent": b'{"signal_type":"task","content":"other","from_identity":"x"}'},
        "forged": {"secret": "0" * 64},
        "another peer": {"peer_id": f"peer:{uuid.uuid4()}"},
        "no proof": {"proof": ""},
    }
    for name, parts in bad.items():
        refused = send(tenant, peer, **parts)
        assert refused.status_code == 401, name
        assert refused.json()["error"]["code"] == "FEDERATION_INVALID_PROOF", name
    assert len(tenant.events()) == events


def test_a_removed_or_expired_peer_is_refused(tenant: Tenant) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    expiring = trust(tenant, expires_at=soon)
    assert send(tenant, expiring).status_code == 201
    peer = trust(tenant)
    removed = tenant.call("DELETE", f"/admin/peers/{peer['peer_id']}")
    assert removed.json()["data"] == {"id": peer["peer_id"], "deleted": True}
    assert send(tenant, peer).status_code == 401
    assert tenant.call("DELETE", f"/admin/peers/{peer['peer_id']}").status_code == 404

    deadline = time.monotonic() + 20
    while send(tenant, expiring).status_code == 201:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    listed = tenant.call("GET", "/admin/peers").json()["data"]
    assert {entry["id"]: entry["status"] for entry in listed}[expiring["peer_id"]] == "expired"


def test_a_peer_may_send_only_its_allowed_types(tenant: Tenant) -> None:
    peer = trust(tenant, allowed_scopes=["signal:pulse"])

    assert send(tenant, peer, signal_type="pulse").status_code == 201
    refused = send(tenant, peer)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "FEDERATION_SCOPE_DENIED"


def test_peers_belong_to_one_account_and_need_a_manager(stack: Deployed, tenant: Tenant) -> None:
    peer = trust(tenant)
    stranger = open_tenant(stack)

    assert stranger.call("GET", "/admin/peers").json()["data"] == []
    assert stranger.call("DELETE", f"/admin/peers/{peer['peer_id']}").status_code == 404
    assert stack.call("GET", "/admin/peers", key=add_member(tenant)).status_code == 403


def test_a_peer_with_a_bad_endpoint_is_400(tenant: Tenant) -> None:
    body = {"name": "other", "endpoint": "http://other.example"}
    refused = tenant.call("POST", "/federation/trust", json=body)

    assert (refused.status_code, refused.json()["error"]["details"]) == (
        400,
        {"field": "endpoint"},
    )
