"""Sign-In with Ethereum through the front door, with wallets that really sign."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siwe import ISO8601Datetime

from gatehouse.core import clock
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder
from support.actors.signers import signed
from support.aws.api_gateway import Front, error_text
from support.aws.invocation import Answer
from support.checks.examples import at_most
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("settings_key", "held")


def at(seconds: float = 0) -> ISO8601Datetime:
    moment = datetime.fromtimestamp(clock.now() / clock.SECOND + seconds, UTC)
    return ISO8601Datetime.from_datetime(moment)


def redeem_invite(front: Front, admin: Holder, wallet: Any = None, **fields: Any) -> Answer:
    body = {"name": "new", "type": "human", "long": True, **fields}
    code = front("POST", "/invite/create", key=admin.key, body=body).json()["data"]["code"]
    wallet_fields = signed(front, wallet) if wallet else {}
    return front(
        "POST", "/invite", body={"code": code, "name": "bo", "type": "human", **wallet_fields}
    )


def sign_in(front: Front, body: Any) -> Answer:
    return front("POST", "/auth/siwe-login", body=body)


def attach(front: Front, key: str, wallet: Any, **fields: Any) -> Answer:
    body = signed(front, wallet, key=key, **fields)
    return front("POST", "/auth/attach-wallet", key=key, body=body)


def check_refused(answer: Answer, why: str = "") -> None:
    assert answer.status == 401, why
    error = answer.json()["error"]
    assert error["code"] == "AUTH_INVALID_SIGNATURE", why
    assert (error["message"], error["details"]) == (
        "The message, its signature or its nonce is not valid",
        {},
    ), why


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_wallet_redeems_an_invite_and_signs_in_for_a_day(
    front: Front, admin: Holder, held: HeldClock, shape: str
) -> None:
    front.shape = shape
    wallet = Account.create()
    joined = redeem_invite(front, admin, wallet, scopes=["services:*"]).json()["data"]
    assert joined["identity"]["wallet_address"] == wallet.address
    first = sign_in(front, signed(front, wallet)).json()["data"]
    front.shape = "aws"
    assert first["identity"] == joined["identity"]
    assert first["expires_at"] == held.text(seconds=86_400)
    me = front("GET", "/v1/whoami", key=first["api_key"]).json()["data"]
    assert me["grants"]["scopes"] == ["services:*"]
    second = sign_in(front, signed(front, wallet)).json()["data"]
    assert front("GET", "/v1/whoami", key=first["api_key"]).status == 401
    held.advance(seconds=86_400, micros=-1)
    assert front("GET", "/v1/whoami", key=second["api_key"]).status == 200
    held.advance(micros=1)
    assert front("GET", "/v1/whoami", key=second["api_key"]).status == 401
    assert front("GET", "/v1/whoami", key=joined["api_key"]).status == 200


def test_a_nonce_is_valid_once_and_for_ten_minutes(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    wallet = Account.create()
    redeem_invite(front, admin, wallet)
    used, late, last = (signed(front, wallet) for _ in range(3))
    assert sign_in(front, used).status == 200
    check_refused(sign_in(front, used))
    held.advance(seconds=600, micros=-1)
    assert sign_in(front, last).status == 200
    held.advance(micros=1)
    check_refused(sign_in(front, late))
    front.renew("wallets")
    check_refused(sign_in(front, used), "another environment refuses it too")
    assert sign_in(front, signed(front, wallet)).status == 200


def test_every_bad_sign_in_returns_the_same_error(front: Front, admin: Holder) -> None:
    wallet, thief = Account.create(), Account.create()
    redeem_invite(front, admin, wallet)
    good = signed(front, wallet)
    message, signature = good["message"], good["signature"]
    bad: dict[str, dict[str, str]] = {
        "another's signature": good | {"signature": signed(front, thief)["signature"]},
        "another's message": good | {"message": signed(front, thief)["message"]},
        "unknown wallet": signed(front, thief),
        "altered chain": good | {"message": message.replace("Chain ID: 1", "Chain ID: 5")},
        "altered domain": good | {"message": message.replace("app.example", "app.exampl3")},
        "altered address": good | {"message": message.replace(wallet.address, thief.address)},
        "another domain": signed(front, wallet, domain="evil.example"),
        "a domain with the same start": signed(front, wallet, domain="app.example.evil"),
        "a domain with a port": signed(front, wallet, domain="app.example:444"),
        "another chain": signed(front, wallet, chain_id=5),
        "expired": signed(front, wallet, expiration_time=at(-1)),
        "expires now": signed(front, wallet, expiration_time=at()),
        "not yet valid": signed(front, wallet, not_before=at(1)),
        "issued in the future": signed(front, wallet, issued_at=at(61)),
        "made-up nonce": signed(front, wallet, nonce="f" * 40),
        "foreign nonce": signed(front, wallet, nonce="abcdefgh12345678"),
        "no message": {"message": "hello", "signature": signature},
        "no signature": good | {"signature": "0x"},
        "short signature": good | {"signature": signature[:-2]},
        "long signature": good | {"signature": signature + "00"},
        "signature of text": good | {"signature": "signature"},
        "zero signature": good | {"signature": "0x" + "00" * 65},
        "long message": good | {"message": message + "x" * (2_000 - len(message))},
        "another long signature": good | {"signature": "0x" + "ab" * 255},
        "trailing line": good | {"message": message + "\n"},
        "lone null": good | {"message": "\x00"},
    }
    for why, body in bad.items():
        check_refused(sign_in(front, body), why)
    for field, most in (("message", 2_000), ("signature", 512)):
        refused = sign_in(front, good | {field: "x" * (most + 1)})
        assert (refused.status, error_text(refused)) == (
            400,
            f"{field} must have at most {most} characters",
        )
    edges = {"expiration_time": at(1), "not_before": at(), "issued_at": at(60)}
    assert sign_in(front, signed(front, wallet, **edges)).status == 200
    assert sign_in(front, good).status == 200, "no refusal used the nonce"


@settings(
    max_examples=at_most(40, quick=20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_altered_message_or_signature_is_401_and_never_500(
    front: Front, data: st.DataObject
) -> None:
    good = signed(front, Account.from_key("0x" + "11" * 32))
    part = data.draw(st.sampled_from(["message", "signature"]))
    text = good[part]
    at_ = data.draw(st.integers(0, len(text)))
    put = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
    cut = data.draw(st.integers(0, 60))
    check_refused(sign_in(front, good | {part: (text[:at_] + put + text[at_ + cut :]) or "x"}))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": "x"}, "signature"),
        ({"message": 5, "signature": "x"}, "message"),
        ({"message": "", "signature": "x"}, "message"),
        ({"message": "x", "signature": ""}, "signature"),
        ({"message": None, "signature": "x"}, "message"),
    ],
)
def test_a_missing_message_or_signature_is_named_in_the_error(
    front: Front, body: Any, field: str
) -> None:
    refused = sign_in(front, body)
    assert (refused.status, refused.json()["error"]["details"]["field"]) == (400, field)


def test_a_wallet_belongs_to_one_identity(front: Front, admin: Holder) -> None:
    wallet = Account.create()
    assert redeem_invite(front, admin, wallet).status == 201
    key = redeem_invite(front, admin).json()["data"]["api_key"]
    for answer in (
        attach(front, key, wallet),
        redeem_invite(front, admin, wallet),
    ):
        assert (answer.status, answer.json()["error"]["code"]) == (409, "WALLET_ATTACHED")
    other = Account.create()
    attached = attach(front, key, other)
    assert attached.json()["data"]["identity"]["wallet_address"] == other.address
    again = attach(front, key, Account.create())
    assert (again.status, again.json()["error"]["code"]) == (409, "WALLET_ATTACHED")
    assert front("POST", "/auth/attach-wallet", body=signed(front, wallet)).status == 401


def test_a_narrow_key_cannot_attach_and_signing_in_adds_no_grants(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    joined = redeem_invite(front, admin).json()["data"]
    identity = joined["identity"]["id"]
    for fields in ({"scopes": ["services:read"]}, {"expires_at": held.text(seconds=60)}):
        body = {"owner": identity, **fields}
        narrow = front("POST", "/admin/api-keys", key=admin.key, body=body).json()["data"]
        refused = attach(front, narrow["api_key"], Account.create())
        error = refused.json()["error"]
        assert (refused.status, error["code"]) == (403, "GRANTS_EXCEEDED")
        assert set(error["details"]) == set(fields)
    wallet = Account.create()
    assert attach(front, joined["api_key"], wallet).status == 200
    path = f"/admin/identities/{identity}"
    front("PATCH", path, key=admin.key, body={"scopes": ["services:read"]})
    key = sign_in(front, signed(front, wallet)).json()["data"]["api_key"]
    me = front("GET", "/v1/whoami", key=key).json()["data"]
    assert me["grants"]["scopes"] == ["services:read"]
    front("PATCH", path, key=admin.key, body={"status": "suspended"})
    check_refused(sign_in(front, signed(front, wallet)))
    assert front("GET", "/v1/whoami", key=key).status == 401


def test_a_message_that_signs_in_attaches_no_wallet_and_the_other_way_round(
    front: Front, admin: Holder
) -> None:
    mine, theirs = (redeem_invite(front, admin).json()["data"]["api_key"] for _ in range(2))
    wallet = Account.create()
    for body in (signed(front, wallet), signed(front, wallet, key=theirs)):
        check_refused(front("POST", "/auth/attach-wallet", key=mine, body=body))
    unused = signed(front, wallet, key=mine)
    assert attach(front, mine, wallet).status == 200
    check_refused(sign_in(front, unused))
    assert front("POST", "/auth/attach-nonce").status == 401
    assert sign_in(front, signed(front, wallet)).status == 200


def test_a_wallet_is_detached_and_its_sign_in_key_is_revoked(front: Front, admin: Holder) -> None:
    wallet = Account.create()
    joined = redeem_invite(front, admin, wallet).json()["data"]
    key = sign_in(front, signed(front, wallet)).json()["data"]["api_key"]
    assert front("DELETE", "/auth/wallet").status == 401

    answer = front("DELETE", "/auth/wallet", key=joined["api_key"])

    assert answer.status == 200
    assert answer.json()["data"]["identity"] == joined["identity"] | {"wallet_address": None}
    check_refused(sign_in(front, signed(front, wallet)))
    assert front("GET", "/v1/whoami", key=key).status == 401
    again = front("DELETE", "/auth/wallet", key=joined["api_key"])
    assert (again.status, again.json()["error"]["code"]) == (404, "WALLET_NOT_FOUND")
    events = front("GET", "/admin/audit", key=admin.key).json()["data"]["events"]
    detached = next(event for event in events if event["action"] == "identity.detach_wallet")
    assert detached["before"]["wallet_address"] == wallet.address
    assert detached["after"]["wallet_address"] is None
    assert attach(front, joined["api_key"], wallet).status == 200


def test_the_uri_and_the_scheme_of_a_message_are_ours(front: Front, admin: Holder) -> None:
    wallet = Account.create()
    redeem_invite(front, admin, wallet)
    for fields in (
        {"uri": "https://evil.example/x"},
        {"uri": "http://app.example/login"},
        {"uri": "javascript:alert(1)"},
        {"uri": "https://app.example@evil.example/"},
        {"scheme": "javascript"},
        {"scheme": "http"},
        {"scheme": "ftp"},
    ):
        check_refused(sign_in(front, signed(front, wallet, **fields)), str(fields))
    for fields in ({"scheme": "https"}, {"uri": "https://app.example"}):
        assert sign_in(front, signed(front, wallet, **fields)).status == 200, str(fields)


def test_http_is_accepted_for_a_domain_on_this_machine(
    front: Front, admin: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_WALLET_DOMAINS", "app.example,localhost:8080")
    wallet, host = Account.create(), "localhost:8080"
    redeem_invite(front, admin, wallet)
    for fields in ({"uri": f"http://{host}"}, {"uri": f"http://{host}/x", "scheme": "http"}):
        body = signed(front, wallet, domain=host, **fields)
        assert sign_in(front, body).status == 200, str(fields)


def test_with_require_wallet_an_invite_needs_a_wallet(
    front: Front, admin: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEHOUSE_REQUIRE_WALLET", "true")
    refused = redeem_invite(front, admin)
    error = refused.json()["error"]
    assert (refused.status, error["code"]) == (400, "VALIDATION_FIELD_REQUIRED")
    assert error["details"] == {"field": "message"}
    assert redeem_invite(front, admin, Account.create()).status == 201


def test_without_wallet_domains_no_wallet_can_sign_in(
    front: Front, admin: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = Account.create()
    redeem_invite(front, admin, wallet)
    monkeypatch.setenv("GATEHOUSE_WALLET_DOMAINS", "")
    check_refused(sign_in(front, signed(front, wallet)))


def test_a_bad_signature_does_not_use_the_invite(front: Front, admin: Holder) -> None:
    body = {"name": "new", "type": "human", "long": True}
    code = front("POST", "/invite/create", key=admin.key, body=body).json()["data"]["code"]
    wallet = Account.create()
    wrong = signed(front, wallet) | {"signature": "0x" + "00" * 65}
    mine = {"code": code, "name": "bo", "type": "human"}
    check_refused(front("POST", "/invite", body=mine | wrong))
    half = front("POST", "/invite", body=mine | {"message": wrong["message"]})
    assert half.status == 400, (
        "a message without signature is an error, not a request without wallet"
    )
    assert front("POST", "/invite", body=mine | signed(front, wallet)).status == 201


def test_a_sign_in_writes_and_logs_neither_key_nor_signature(
    front: Front, admin: Holder, stack: Tables, logs: io.StringIO
) -> None:
    wallet = Account.create()
    redeem_invite(front, admin, wallet)
    body = signed(front, wallet)
    key = sign_in(front, body).json()["data"]["api_key"]
    repeated = sign_in(front, body)
    state = State(stack)
    written = json.dumps(state.main, default=repr) + logs.getvalue() + repeated.text
    assert wallet.address in written, "the search reads what is stored"
    hexes = key.partition("_")[2]
    marks = [hexes[start : start + 12] for start in range(0, 60, 3)]
    marks += [body["signature"][2:], body["signature"][2:40], wallet.key.hex(), "wants you to sign"]
    assert [mark for mark in marks if mark in written] == []
    assert body["message"].split("Nonce: ")[1][:40] not in logs.getvalue()
