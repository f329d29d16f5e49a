"""Sign-In with Ethereum on the deployed stack, with a wallet that really signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from support.actors.deployed_members import change, invite, member
from support.actors.deployed_tenant import Tenant, open_tenant
from support.actors.signers import new_wallet, sign_in_message
from support.worlds.deployed_stack import Deployed


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def signed(
    stack: Deployed, wallet: Any, *, key: str | None = None, **fields: Any
) -> dict[str, str]:
    """Sign a message with a fresh nonce, as a wallet does: to sign in or, with `key`, to attach."""
    if "nonce" not in fields:
        how = ("POST", "/auth/attach-nonce") if key else ("GET", "/auth/nonce")
        answer = stack.call(*how, key=key)
        assert answer.status_code == 200
        fields["nonce"] = answer.json()["data"]["nonce"]
    domain = stack.url.removeprefix("http://")
    return sign_in_message(wallet, **{"domain": domain, "uri": f"http://{domain}/login", **fields})


def sign_in(stack: Deployed, body: dict[str, Any]) -> httpx.Response:
    return stack.call_throttled("POST", "/auth/siwe-login", json=body)


def test_a_wallet_redeems_an_invite_and_then_signs_in(tenant: Tenant) -> None:
    stack, wallet = tenant.stack, new_wallet()
    made = invite(tenant, long=True, scopes=["services:*"])
    body = {"code": made["code"], "name": "bo", "type": "human", **signed(stack, wallet)}
    joined = stack.call_throttled("POST", "/invite", json=body)
    assert joined.status_code == 201, joined.text
    assert joined.json()["data"]["identity"]["wallet_address"] == wallet.address

    first = sign_in(stack, signed(stack, wallet))
    assert first.status_code == 200, first.text
    data = first.json()["data"]
    assert data["identity"]["id"] == joined.json()["data"]["identity"]["id"]
    me = stack.call("GET", "/v1/whoami", key=data["api_key"]).json()["data"]
    assert me["grants"]["scopes"] == ["services:*"]
    ends = datetime.fromisoformat(me["key"]["expires_at"])
    assert timedelta(hours=23) < ends - datetime.now(UTC) <= timedelta(hours=24)

    second = sign_in(stack, signed(stack, wallet)).json()["data"]
    assert stack.call("GET", "/v1/whoami", key=data["api_key"]).status_code == 401
    assert stack.call("GET", "/v1/whoami", key=second["api_key"]).status_code == 200


def test_a_wallet_is_attached_once_and_to_one_identity(tenant: Tenant) -> None:
    stack, wallet = tenant.stack, new_wallet()
    _, key = member(tenant)
    _, other = member(tenant)

    def attach(by: str, with_wallet: Any) -> Any:
        body = signed(stack, with_wallet, key=by)
        return stack.call("POST", "/auth/attach-wallet", key=by, json=body)

    attached = attach(key, wallet)
    assert attached.status_code == 200, attached.text
    assert attached.json()["data"]["identity"]["wallet_address"] == wallet.address
    for again in (attach(key, new_wallet()), attach(other, wallet)):
        assert (again.status_code, again.json()["error"]["code"]) == (409, "WALLET_ATTACHED")
    signed_in = sign_in(stack, signed(stack, wallet)).json()["data"]["api_key"]
    detached = stack.call("DELETE", "/auth/wallet", key=key)
    assert detached.json()["data"]["identity"]["wallet_address"] is None
    assert sign_in(stack, signed(stack, wallet)).status_code == 401
    assert stack.call("GET", "/v1/whoami", key=signed_in).status_code == 401
    assert attach(other, wallet).status_code == 200


def test_a_narrow_key_attaches_no_wallet_and_a_sign_in_grants_no_more_than_the_ceiling(
    tenant: Tenant,
) -> None:
    stack = tenant.stack
    identity, whole = member(tenant)
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for fields in ({"scopes": ["services:read"]}, {"expires_at": soon}):
        made = tenant.call("POST", "/admin/api-keys", json={"owner": identity, **fields})
        lesser = made.json()["data"]["api_key"]
        body = signed(stack, new_wallet(), key=lesser)
        refused = stack.call("POST", "/auth/attach-wallet", key=lesser, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "GRANTS_EXCEEDED")
    wallet = new_wallet()
    body = signed(stack, wallet, key=whole)
    assert stack.call("POST", "/auth/attach-wallet", key=whole, json=body).status_code == 200
    change(tenant, identity, scopes=["services:read"])
    signed_in = sign_in(stack, signed(stack, wallet)).json()["data"]
    me = stack.call("GET", "/v1/whoami", key=signed_in["api_key"]).json()["data"]
    assert me["grants"]["scopes"] == ["services:read"]


def test_each_bad_signature_is_the_same_401(tenant: Tenant) -> None:
    stack, wallet, thief = tenant.stack, new_wallet(), new_wallet()
    identity, key = member(tenant)
    body = signed(stack, wallet, key=key)
    attached = stack.call("POST", "/auth/attach-wallet", key=key, json=body)
    assert attached.status_code == 200
    used = signed(stack, wallet)
    assert sign_in(stack, used).status_code == 200
    then = datetime.now(UTC) - timedelta(minutes=1)
    forged = signed(stack, wallet)
    bad = {
        "replayed": used,
        "another's signature": forged | {"signature": signed(stack, thief)["signature"]},
        "altered": forged | {"message": forged["message"].replace("Chain ID: 1", "Chain ID: 5")},
        "unknown wallet": signed(stack, thief),
        "another domain": signed(stack, wallet, domain="evil.example"),
        "another URI": signed(stack, wallet, uri="https://evil.example/x"),
        "to attach": signed(stack, wallet, key=key),
        "expired": signed(stack, wallet, expiration_time=then),
        "made-up nonce": signed(stack, wallet, nonce="f" * 40),
    }
    for name, body in bad.items():
        refused = sign_in(stack, body)
        assert refused.status_code == 401, name
        assert refused.json()["error"]["code"] == "AUTH_INVALID_SIGNATURE", name
    assert sign_in(stack, {"message": "x"}).status_code == 400
    assert change(tenant, identity, status="suspended").status_code == 200
    assert sign_in(stack, signed(stack, wallet)).status_code == 401
