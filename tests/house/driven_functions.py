"""Calls every route, and every function without routes, for the test of permissions."""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
from eth_account import Account

from gatehouse.core import clock
from gatehouse.dynamo.table import Tables
from house import driven, driven_logs
from support.actors.people import People
from support.actors.signers import proven, signed
from support.aws import invocation
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads


def drive(
    front: Front,
    tables: Tables,
    *,
    workloads: Workloads,
    delivery_queue: str,
    relay_queue: str,
    aws: pytest.MonkeyPatch,
) -> None:
    """Do everything that a function can do, once. `aws` sets environment variables."""
    people = People(front, tables)
    admin = people.tenant()
    employee = people.employee(admin)
    _use_bootstrap(front)
    made = front.function("bootstrap").handler({"action": "recover"}, invocation.Context())
    _use_unlimited(front, made["api_key"]["key"])
    _use_keys(front, people, admin, employee)
    _use_the_rest(front, people, admin)
    _use_people(front, people, admin)
    _use_wallets(front, admin)
    _use_sessions(front, people, admin, employee)
    _use_peers(front, admin)
    _use_signals(front, admin)
    _use_webhooks(front, admin)
    # As another account: this moves the clock, and a key's limit must not see later requests first.
    other, held = people.tenant(), HeldClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", held)
        driven.drive(front, tables.main, other.key, queue=delivery_queue, held=held)
    _use_services(front, made["api_key"]["key"], aws)
    driven_logs.drive(front, workloads, made["api_key"]["key"], queue=relay_queue)
    _use_secrets(front, admin, made["api_key"]["key"], aws)
    _use_the_sweeper(front, people, admin)
    _use_stats(front)


def _use_bootstrap(front: Front) -> None:
    """Create the operator's account with an invite, and apply two bootstrap files.

    The second demotes an admin who made a webhook.
    """
    bootstrap = front.function("bootstrap").handler
    invited = bootstrap({"action": "invite"}, invocation.Context())
    admin = _first_admin(front, invited["invite"]["code"])
    for scopes, is_admin, description, active in (
        ("['*']", "true", "all", "false"),
        ("['services:read']", "false", "few", "true"),
    ):
        text = (
            f"identities: [{{name: bot, scopes: {scopes}, is_admin: {is_admin}}}]\n"
            f"rings: [{{name: inner, description: {description}}}]\n"
            f"roles: [{{name: reviewer, description: {description}}}]\n"
            "invites: [{name: colleague}]\n"
            "webhooks: [{name: hook, url: https://127.0.0.1/in, secret_env: HOOK,"
            f" description: {description}, active: {active}}}]\n"
        )
        secrets = {"HOOK": "whsec_" + base64.b64encode(description.encode() * 8).decode()}
        event = {"action": "apply", "yaml": text, "secrets": secrets}
        answer = bootstrap(event, invocation.Context())
        assert answer["steps"][0]["verb"] in {"add", "update"}
        if answer["steps"][0]["verb"] == "add":
            owner = next(
                one["id"]
                for one in front("GET", "/admin/identities", key=admin).json()["data"]
                if one["name"] == "bot"
            )
            made = front("POST", "/admin/api-keys", key=admin, body={"owner": owner})
            key, hook = made.json()["data"]["api_key"], {"url": "https://127.0.0.1/in"}
            assert front("POST", "/admin/webhooks", key=key, body=hook).status == 201


def _first_admin(front: Front, code: str) -> str:
    body = {"code": code, "name": "bo", "type": "human"}
    came = front("POST", "/invite", body=body)
    assert came.status == 201, came.text
    return str(came.json()["data"]["api_key"])


def _use_unlimited(front: Front, key: str) -> None:
    assert front("GET", "/v1/whoami", key=key).status == 200
    assert front("POST", "/v1/keys/verify", key=key, body={"key": key}).status == 200


def _use_keys(front: Front, people: People, admin: Any, employee: Any) -> None:
    once = {"Idempotency-Key": "once"}
    front("POST", "/v1/accounts", body={"name": "Once"}, headers=once)
    for start, name in (("/api/auth/keys", "services"), ("/v1/api-keys", "account")):
        made = front("POST", start, key=admin.key, body={"name": name}, headers=once)
        assert made.status == 201
        value = made.json()
        key_id = value.get("data", value)["id"]
        for holder in (admin, employee):
            assert front("GET", start, key=holder.key).status == 200
        # The changes of a member who is not an admin are counted.
        assert front("POST", start, key=employee.key, body={"name": name}).status == 201
        if start.startswith("/v1"):
            body = {"expires_at": clock.rfc3339(clock.now() + clock.DAY)}
            front("PATCH", f"{start}/{key_id}", key=admin.key, body=body)
            rotated = front("POST", f"{start}/{key_id}/rotate", key=admin.key, body={})
            key_id = rotated.json()["data"]["id"]
        assert front("DELETE", f"{start}/{key_id}", key=admin.key).status == 204
        _revoke_a_family(front, people, admin, f"{start}/{{id}}", method="DELETE")
    _revoke_a_family(front, people, admin, "/admin/api-keys/{id}/revoke", method="POST")
    other = people.key(admin)
    for path, body in ((f"{other.key_id}/rotate", {}), (f"{other.key_id}/revoke", None)):
        front("POST", f"/admin/api-keys/{path}", key=admin.key, body=body)
    owner = f"identity:{admin.identity_id}"
    front("POST", "/admin/api-keys", key=admin.key, body={"owner": owner}, headers=once)


def _make_a_family(front: Front, people: People, admin: Any) -> Any:
    """Make a key and with it another one, which makes one thing of each kind."""
    parent = people.key(admin)
    child = people.key(parent)
    for made_at, body in (
        ("/admin/webhooks", {"url": "https://127.0.0.1/in"}),
        ("/federation/trust", {"name": "made", "endpoint": "https://other.example/in"}),
        ("/invite/create", {"name": "made", "type": "human", "max_uses": 2}),
    ):
        made = front("POST", made_at, key=child.key, body=body)
        assert made.status == 201
    hook = {
        "name": f"made-{child.key_id}",
        "healthUrl": "https://127.0.0.1/",
        "restartUrl": "https://127.0.0.1/",
    }
    assert front("POST", "/api/services", key=child.key, body=hook).status == 201
    other = people.key(admin, rate_limit=5)
    raised = front("PATCH", f"/v1/api-keys/{other.key_id}", key=child.key, body={"rate_limit": 50})
    assert raised.status == 200
    wallet = Account.create()
    coming = {"code": made.json()["data"]["code"], "name": "bo", "type": "human"}
    assert front("POST", "/invite", body=coming | signed(front, wallet)).status == 201
    assert front("POST", "/auth/siwe-login", body=signed(front, wallet)).status == 200
    return parent


def _revoke_a_family(front: Front, people: People, admin: Any, path: str, *, method: str) -> None:
    """Revoke a key that made another one, first alone and then with all that both made."""
    parent = _make_a_family(front, people, admin)
    path = path.format(id=parent.key_id)
    assert front(method, path, key=admin.key).status in {200, 204}
    everything: dict[str, Any] = {"query": {"descendants": "true"}}
    if method == "POST":
        everything = {"body": {"descendants": True}}
    assert front(method, path, key=admin.key, **everything).status in {200, 204}


def _use_the_rest(front: Front, people: People, admin: Any) -> None:
    body = {"key": people.key(admin).key}
    assert front("POST", "/v1/keys/verify", key=admin.key, body=body).status == 200
    for path in ("/admin/api-keys", "/admin/audit", "/admin/policy", "/admin/health-metrics"):
        assert front("GET", path, key=admin.key).status == 200
    for path in ("/health", "/healthz", "/readyz", "/api/health"):
        assert front("GET", path).status == 200


def _use_people(front: Front, people: People, admin: Any) -> None:
    once = {"Idempotency-Key": "once"}
    body = {"name": "new", "type": "human"}
    made = front("POST", "/invite/create", key=admin.key, body=body, headers=once)
    assert made.status == 201
    for path in ("/admin/invites", "/admin/identities", "/admin/policy", "/admin/config"):
        assert front("GET", path, key=admin.key).status == 200
    member = people.employee(admin)
    path = f"/admin/identities/{member.identity_id}"
    assert front("GET", path, key=admin.key).status == 200
    for change in ({"is_admin": True}, {"is_admin": False}, {"scopes": ["services:read"]}):
        assert front("PATCH", path, key=admin.key, body=change).status == 200
    question = {"action": "signal:emit", "key_id": member.key_id}
    assert front("POST", "/admin/policy/evaluate", key=admin.key, body=question).status == 200


def _use_sessions(front: Front, people: People, admin: Any, employee: Any) -> None:
    """Sign in, twenty times over what a key may have, with each kind of caller; sign out."""
    once = {"Idempotency-Key": "once"}
    assert front("POST", "/auth/session", key=admin.key, headers=once).status == 204
    opened = front("POST", "/auth/session", key=employee.key)
    cookie = {"Cookie": opened.headers["set-cookie"].split(";")[0], "X-Gatehouse-Page": "1"}
    assert front("GET", "/auth/sessions", headers=cookie).status == 200
    made = front("POST", "/auth/socket-ticket", headers=cookie).json()
    socket_event = invocation.event("sockets")
    socket_event["headers"] = {}
    socket_event["queryStringParameters"] = {"ticket": made["data"]["ticket"]}
    assert isinstance(front.authorize_socket(socket_event), dict)
    assert front("DELETE", "/auth/session", headers=cookie).status == 204
    key = people.key(admin)
    for _ in range(21):
        assert front("POST", "/auth/session", key=key.key).status == 204
    listed = front("GET", "/auth/sessions", key=key.key).json()["data"]
    assert front("DELETE", f"/auth/sessions/{listed[0]['id']}", key=key.key).status == 204


def _use_wallets(front: Front, admin: Any) -> None:
    body = {"name": "new", "type": "human", "max_uses": 2}
    code = front("POST", "/invite/create", key=admin.key, body=body).json()["data"]["code"]
    coming = {"code": code, "name": "bo", "type": "human"}
    once = {"Idempotency-Key": "once"}
    wallet, other = Account.create(), Account.create()
    came = front("POST", "/invite", body=coming | signed(front, wallet), headers=once)
    assert came.status == 201, came.text
    second = front("POST", "/invite", body=coming).json()["data"]["api_key"]
    assert front("POST", "/invite", body=coming | {"code": "00000000"}).status == 404
    assert front("POST", "/invite", body=coming | {"code": "00000001"}).status == 404
    body = signed(front, other, key=second)
    assert front("POST", "/auth/attach-wallet", key=second, body=body).status == 200
    assert front("POST", "/auth/siwe-login", body=signed(front, other)).status == 200
    assert front("DELETE", "/auth/wallet", key=second).status == 200
    for _ in range(2):
        assert front("POST", "/auth/siwe-login", body=signed(front, wallet)).status == 200
    front.renew("wallets")  # a new environment reads what the previous one created
    assert front("GET", "/auth/nonce").status == 200


def _use_peers(front: Front, admin: Any) -> None:
    body = {"name": "other", "endpoint": "https://other.example/in"}
    once = {"Idempotency-Key": "once"}
    made = front("POST", "/federation/trust", key=admin.key, body=body, headers=once)
    peer = made.json()["data"]
    sent, headers = proven(peer)
    assert front("POST", "/federation/inbound", body=sent, headers=headers).status == 201
    assert front("GET", "/admin/peers", key=admin.key).status == 200
    assert front("DELETE", f"/admin/peers/{peer['peer_id']}", key=admin.key).status == 200


def _use_signals(front: Front, admin: Any) -> None:
    body = {"signal_type": "task", "content": "x", "to_identity": admin.identity_id}
    for headers in ({}, {"Idempotency-Key": "once"}, {"Idempotency-Key": "once"}):
        made = front("POST", "/emit", key=admin.key, body=body, headers=headers)
        assert made.status == 201, made.text
    name = {"signal_id": made.json()["data"]["id"]}
    for path in ("/claim", "/ack"):
        assert front("POST", path, key=admin.key, body=name).status == 200
    for path in ("/signals/list", f"/signals/{name['signal_id']}"):
        assert front("GET", path, key=admin.key).status == 200


def _use_webhooks(front: Front, admin: Any) -> None:
    body = {"url": "https://127.0.0.1/in", "headers": {"X-A": "1"}}
    once = {"Idempotency-Key": "once"}
    made = front("POST", "/admin/webhooks", key=admin.key, body=body, headers=once)
    assert made.status == 201, made.text
    path = f"/admin/webhooks/{made.json()['data']['id']}"
    for read in ("/admin/webhooks", path):
        assert front("GET", read, key=admin.key).status == 200
    assert front("PATCH", path, key=admin.key, body={"headers": {}}).status == 200
    rotated = front("POST", f"{path}/rotate-secret", key=admin.key, body={}, headers=once)
    assert rotated.status == 200
    assert front("DELETE", path, key=admin.key).status == 200


def _use_services(front: Front, operator: str, aws: pytest.MonkeyPatch) -> None:
    """Register and check a service that does not answer, and restart it by its hook."""
    aws.setenv("GATEHOUSE_LOG_GROUPS", "arn:aws:logs:us-east-1:123456789012:log-group:")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    body = {"name": "billing", "healthUrl": url, "restartUrl": url}
    once = {"Idempotency-Key": "once"}
    made = front("POST", "/api/services", key=operator, body=body, headers=once)
    assert made.status == 201, made.text
    for read in ("list", "billing/health", "metrics"):
        assert front("GET", f"/api/services/{read}", key=operator).status == 200
    assert front("POST", "/api/services/billing/restart", key=operator).status == 409
    assert front("DELETE", "/api/services/billing", key=operator).status == 204


def _use_secrets(front: Front, admin: Any, operator: str, aws: pytest.MonkeyPatch) -> None:
    """Store a secret of each purpose, rewrap all with a settings key, and with KMS again."""
    names = ("transcription/openai", "providers/anthropic")
    for path in (f"/api/auth/{name}" for name in names):
        for text in ("first", "second"):
            assert front("PUT", path, key=admin.key, body={"apiKey": text}).status == 204
        assert front("GET", path, key=admin.key).json()["configured"] is True
    for name in ("transcription/openai", "provider/anthropic"):
        asked = {"do": "get", "account": admin.account_id, "secret": name}
        answer = front.function("secrets").handler(asked, invocation.Context())
        assert answer == {"value": "second"}
    peer = {"name": "other", "endpoint": "https://other.example/in"}
    assert front("POST", "/federation/trust", key=admin.key, body=peer).status == 201
    hook = {"url": "https://127.0.0.1/in"}
    assert front("POST", "/admin/webhooks", key=admin.key, body=hook).status == 201
    own = {"name": "hooked", "healthUrl": hook["url"], "restartUrl": hook["url"]}
    assert front("POST", "/api/services", key=operator, body=own).status == 201
    for current, previous in (("ab" * 32, ""), ("", "ab" * 32)):
        aws.setenv("HAMMURABI_SETTINGS_ENCRYPTION_KEY", current)
        aws.setenv("HAMMURABI_SETTINGS_ENCRYPTION_KEY_PREVIOUS", previous)
        done = False
        while not done:
            done = front.function("rewrap").handler({"do": "rewrap"}, invocation.Context())["done"]
    for path in (f"/api/auth/{name}" for name in names):
        assert front("DELETE", path, key=admin.key).status == 204


def _use_the_sweeper(front: Front, people: People, admin: Any) -> None:
    """Change identities and end things, and crash before keys, webhooks or events follow."""
    spare = people.key(admin)
    peer = {"name": "ending", "endpoint": "https://other.example/federation/inbound"}
    peer = front("POST", "/federation/trust", key=admin.key, body=peer).json()["data"]
    service = {"name": "ending", "healthUrl": "http://127.0.0.1:9009/"}
    assert front("POST", "/api/services", key=admin.key, body=service).status == 201
    hook = {"url": "https://127.0.0.1/in"}
    webhook = front("POST", "/admin/webhooks", key=admin.key, body=hook).json()["data"]
    inviter = people.key(admin)
    invite = {"name": "ending", "type": "human"}
    assert front("POST", "/invite/create", key=inviter.key, body=invite).status == 201
    everything = {"descendants": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatehouse.audit.endings.record", lambda *_, **__: None)
        for method, path, body in (
            ("POST", f"/admin/api-keys/{spare.key_id}/revoke", None),
            ("POST", f"/admin/api-keys/{inviter.key_id}/revoke", everything),
            ("DELETE", f"/admin/peers/{peer['peer_id']}", None),
            ("DELETE", f"/admin/webhooks/{webhook['id']}", None),
            ("DELETE", "/api/services/ending", None),
        ):
            assert front(method, path, key=admin.key, body=body).status in {200, 204}
    parent = _make_a_family(front, people, admin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatehouse.revocation.actions._LONGEST", -1.0)
        path = f"/admin/api-keys/{parent.key_id}/revoke"
        left = front("POST", path, key=admin.key, body=everything).json()["data"]
        assert (left["ended"], left["more"]) == ([], True)
    whole, cut = people.employee(admin), people.employee(admin)

    def change(holder: Any, fields: dict[str, Any]) -> None:
        path = f"/admin/identities/{holder.identity_id}"
        assert front("PATCH", path, key=admin.key, body=fields).status == 200

    change(whole, {"is_admin": True})
    assert front("POST", "/admin/webhooks", key=whole.key, body=hook).status == 201
    for status in ("suspended", "active"):
        change(whole, {"status": status})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatehouse.memberships.actions.finish", lambda *_, **__: ())
        change(whole, {"name": "x", "is_admin": False})
        change(cut, {"scopes": []})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatehouse.revocation.actions._REQUEST_OVER", 0)
        swept = front.function("sweeper").handler({}, invocation.Context())
    assert (swept["endings"], swept["memberships"]) == (6, 2)
    assert swept["revocations"] == 8
    spare = people.key(admin)
    assert front("POST", f"/admin/api-keys/{spare.key_id}/revoke", key=admin.key).status == 200


def _use_stats(front: Front) -> None:
    event = invocation.event("statistics")
    assert front.function("statistics").handler(event, invocation.Context()) == {"state": {}}
