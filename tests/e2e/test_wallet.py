"""Sign-In with Ethereum, with a wallet made here and messages it really signs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from siwe import ISO8601Datetime, SiweMessage

from e2e.deployed import Deployed
from e2e.people import Tenant, open_tenant
from e2e.test_identities import change, member
from e2e.test_invites import invite

DOMAIN = "localhost:8080"


@pytest.fixture(scope="module")
def tenant(stack: Deployed) -> Tenant:
    return open_tenant(stack)


def nonce(stack: Deployed) -> str:
    given = stack.call("GET", "/auth/nonce")
    assert given.status_code == 200
    text: str = given.json()["data"]["nonce"]
    return text


def signed(stack: Deployed, wallet: Any, **fields: Any) -> dict[str, str]:
    """Write a message and sign it, as a wallet does."""
    message = SiweMessage(
        **{
            "domain": DOMAIN,
            "address": wallet.address,
            "uri": f"http://{DOMAIN}/login",
            "version": "1",
            "chain_id": 1,
            "nonce": fields.pop("nonce", None) or nonce(stack),
            "issued_at": ISO8601Datetime.from_datetime(datetime.now(UTC)),
            **fields,
        }
    ).prepare_message()
    return {
        "message": message,
        "signature": wallet.sign_message(encode_defunct(text=message)).signature.to_0x_hex(),
    }


def sign_in(stack: Deployed, body: dict[str, Any]) -> httpx.Response:
    """Sign in, waiting for the stage's throttle where the tests are too quick for it."""
    deadline = time.monotonic() + 20
    while True:
        answer = stack.call("POST", "/auth/siwe-login", json=body)
        if answer.status_code != 429 or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)


def test_an_invite_is_redeemed_with_a_wallet_which_then_signs_in(tenant: Tenant) -> None:
    stack, wallet = tenant.stack, Account.create()
    made = invite(tenant, long=True, scopes=["services:*"])
    came = stack.call(
        "POST",
        "/invite",
        json={"code": made["code"], "name": "bo", "type": "human", **signed(stack, wallet)},
    )
    assert came.status_code == 201, came.text
    assert came.json()["data"]["identity"]["wallet_address"] == wallet.address

    first = sign_in(stack, signed(stack, wallet))
    assert first.status_code == 200, first.text
    data = first.json()["data"]
    assert data["identity"]["id"] == came.json()["data"]["identity"]["id"]
    me = stack.call("GET", "/v1/whoami", key=data["api_key"]).json()["data"]
    assert me["grants"]["scopes"] == ["services:*"]
    ends = datetime.fromisoformat(me["key"]["expires_at"])
    assert timedelta(hours=23) < ends - datetime.now(UTC) <= timedelta(hours=24)

    second = sign_in(stack, signed(stack, wallet)).json()["data"]
    assert stack.call("GET", "/v1/whoami", key=data["api_key"]).status_code == 401
    assert stack.call("GET", "/v1/whoami", key=second["api_key"]).status_code == 200


def test_a_wallet_is_attached_once_and_belongs_to_one(tenant: Tenant) -> None:
    stack, wallet = tenant.stack, Account.create()
    _, key = member(tenant)
    _, other = member(tenant)

    def attach(by: str, with_wallet: Any) -> Any:
        return stack.call("POST", "/auth/attach-wallet", key=by, json=signed(stack, with_wallet))

    attached = attach(key, wallet)
    assert attached.status_code == 200, attached.text
    assert attached.json()["data"]["identity"]["wallet_address"] == wallet.address
    for again in (attach(key, Account.create()), attach(other, wallet)):
        assert (again.status_code, again.json()["error"]["code"]) == (409, "WALLET_ATTACHED")


def test_a_narrow_key_neither_attaches_a_wallet_nor_gains_by_signing_in(tenant: Tenant) -> None:
    stack = tenant.stack
    identity, whole = member(tenant)
    body = {"owner": identity, "scopes": ["services:read"]}
    narrow = tenant.call("POST", "/admin/api-keys", json=body).json()["data"]["api_key"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"owner": identity, "expires_at": soon}
    passing = tenant.call("POST", "/admin/api-keys", json=body).json()["data"]["api_key"]

    for key in (narrow, passing):
        refused = stack.call(
            "POST", "/auth/attach-wallet", key=key, json=signed(stack, Account.create())
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "GRANTS_EXCEEDED")
    # Signing in gives the ceiling, and no more, even after the ceiling came down.
    wallet = Account.create()
    stack.call("POST", "/auth/attach-wallet", key=whole, json=signed(stack, wallet))
    change(tenant, identity, scopes=["services:read"])
    came = sign_in(stack, signed(stack, wallet)).json()["data"]
    me = stack.call("GET", "/v1/whoami", key=came["api_key"]).json()["data"]
    assert me["grants"]["scopes"] == ["services:read"]


def test_every_bad_signature_gets_the_same_refusal(tenant: Tenant) -> None:
    stack, wallet, thief = tenant.stack, Account.create(), Account.create()
    identity, key = member(tenant)
    attached = stack.call("POST", "/auth/attach-wallet", key=key, json=signed(stack, wallet))
    assert attached.status_code == 200
    used = signed(stack, wallet)
    assert sign_in(stack, used).status_code == 200
    then = ISO8601Datetime.from_datetime(datetime.now(UTC) - timedelta(minutes=1))
    later = ISO8601Datetime.from_datetime(datetime.now(UTC) + timedelta(hours=1))
    forged = signed(stack, wallet)
    bad = {
        "replayed": used,
        "another's signature": forged | {"signature": signed(stack, thief)["signature"]},
        "altered": forged | {"message": forged["message"].replace("Chain ID: 1", "Chain ID: 5")},
        "unknown wallet": signed(stack, thief),
        "another domain": signed(stack, wallet, domain="evil.example"),
        "another chain": signed(stack, wallet, chain_id=5),
        "expired": signed(stack, wallet, expiration_time=then),
        "not yet valid": signed(stack, wallet, not_before=later),
        "issued in the future": signed(stack, wallet, issued_at=later),
        "made-up nonce": signed(stack, wallet, nonce="f" * 40),
        "foreign nonce": signed(stack, wallet, nonce="abcdefgh12345678"),
        "no message": {"message": "hello", "signature": forged["signature"]},
        "no signature": forged | {"signature": "0x"},
        "huge": forged | {"message": "x" * 10_000},
    }
    for name, body in bad.items():
        refused = sign_in(stack, body)
        assert refused.status_code == 401, name
        assert refused.json()["error"]["code"] == "AUTH_INVALID_SIGNATURE", name
    for body in ({}, {"message": "x"}, {"message": 5, "signature": "x"}):
        assert sign_in(stack, body).status_code == 400
    assert change(tenant, identity, status="suspended").status_code == 200
    suspended = sign_in(stack, signed(stack, wallet))
    assert suspended.status_code == 401
