"""Every route that changes something is bounded by the caller's reach, or leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account

from gatehouse.core import reach
from gatehouse.core.reach import Reach
from support.actors.people import Holder, People
from support.actors.signers import signed
from support.aws.api_gateway import Front, routes

URL = "http://127.0.0.1:9000/in"

# Nothing of these acts, receives or lets somebody in after the request, or they only end something.
ENDS_OR_LEAVES_NOTHING = {
    "DELETE /admin/peers/{id}": "ends",
    "DELETE /admin/webhooks/{id}": "ends",
    "DELETE /api/auth/keys/{id}": "ends",
    "DELETE /api/services/{name}": "ends",
    "DELETE /auth/wallet": "ends",
    "DELETE /v1/api-keys/{id}": "ends",
    "POST /admin/api-keys/{id}/revoke": "ends",
    "DELETE /api/auth/providers/{name}": "a value that only IAM can read",
    "DELETE /api/auth/transcription/openai": "a value that only IAM can read",
    "PUT /api/auth/providers/{name}": "a value that only IAM can read",
    "PUT /api/auth/transcription/openai": "a value that only IAM can read",
    "POST /ack": "the state of a signal that the key may act on",
    "POST /claim": "a claim of the caller's identity, for 15 minutes",
    "POST /emit": "one signal that the key may emit",
    "POST /api/services/{name}/restart": "acts at once",
    "POST /admin/policy/evaluate": "writes nothing",
    "DELETE /auth/session": "ends",
    "DELETE /auth/sessions/{id}": "ends",
    "POST /auth/session": "acts as the key, and ends with it",
    "POST /auth/socket-ticket": "opens one socket as the key, within 30 seconds",
    "POST /auth/attach-nonce": "a nonce that only the caller's identity can use",
    "POST /v1/keys/verify": "spends a request of a key that the caller has",
}
# Without a caller: each uses up what somebody left behind within their reach.
WITHOUT_A_KEY = {
    "POST /auth/siwe-login": "a wallet",
    "POST /federation/inbound": "a peer",
    "POST /invite": "an invite",
    "POST /v1/accounts": "the stack's parameter that opens it",
}


class World:
    """An admin of an account with one thing of each kind; `path` and `body` are of a request."""

    def __init__(self, front: Front, people: People) -> None:
        self.front, self.people = front, people
        self.boss = people.tenant()
        self.member = people.employee(self.boss)

    def key(self) -> str:
        """Return the id of a new key."""
        return self.people.key(self.boss).key_id

    def webhook(self) -> str:
        """Return the id of a new webhook."""
        made = self.front("POST", "/admin/webhooks", key=self.boss.key, body={"url": URL})
        return str(made.json()["data"]["id"])

    def delivery(self) -> str:
        """Return the id of a new delivery."""
        path = f"/admin/webhooks/{self.webhook()}/test"
        made = self.front("POST", path, key=self.boss.key, body={})
        return str(made.json()["data"]["delivery_id"])

    def proof(self) -> dict[str, str]:
        """Return what attaches a wallet to the member."""
        return signed(self.front, Account.create(), key=self.boss.key)


Make = Callable[[World], tuple[str, dict[str, Any]]]

# Routes that leave something behind: how each is called.
LEAVES: dict[str, Make] = {
    "POST /api/auth/keys": lambda _: ("/api/auth/keys", {"name": "a"}),
    "POST /v1/api-keys": lambda _: ("/v1/api-keys", {"name": "a"}),
    "PATCH /v1/api-keys/{id}": lambda w: (f"/v1/api-keys/{w.key()}", {"name": "b"}),
    "POST /v1/api-keys/{id}/rotate": lambda w: (f"/v1/api-keys/{w.key()}/rotate", {}),
    "POST /admin/api-keys": lambda w: ("/admin/api-keys", {"owner": w.member.identity_id}),
    "POST /admin/api-keys/{id}/rotate": lambda w: (f"/admin/api-keys/{w.key()}/rotate", {}),
    "POST /invite/create": lambda _: ("/invite/create", {"name": "a", "type": "human"}),
    "PATCH /admin/identities/{id}": lambda w: (
        f"/admin/identities/{w.member.identity_id}",
        {"is_admin": True},
    ),
    "POST /auth/attach-wallet": lambda w: ("/auth/attach-wallet", w.proof()),
    "POST /federation/trust": lambda _: (
        "/federation/trust",
        {"name": "a", "endpoint": "https://a.example"},
    ),
    "POST /admin/webhooks": lambda _: ("/admin/webhooks", {"url": URL}),
    "PATCH /admin/webhooks/{id}": lambda w: (
        f"/admin/webhooks/{w.webhook()}",
        {"url": URL + "/other"},
    ),
    "POST /admin/webhooks/{id}/rotate-secret": lambda w: (
        f"/admin/webhooks/{w.webhook()}/rotate-secret",
        {},
    ),
    "POST /admin/webhooks/{id}/test": lambda w: (f"/admin/webhooks/{w.webhook()}/test", {}),
    "POST /admin/webhooks/{id}/recover": lambda w: (
        f"/admin/webhooks/{w.webhook()}/recover",
        {"since": "2000-01-01T00:00:00Z"},
    ),
    "POST /admin/webhooks/deliveries/{id}/replay": lambda w: (
        f"/admin/webhooks/deliveries/{w.delivery()}/replay",
        {},
    ),
    "POST /api/services": lambda _: (
        "/api/services",
        {"name": "a", "healthUrl": URL, "restartUrl": URL},
    ),
}


@pytest.fixture(scope="module")
def world(
    front: Front,
    people: People,
    settings_key: str,
    delivery_queue: str,
    aws: pytest.MonkeyPatch,
) -> World:
    del settings_key, delivery_queue
    aws.setenv("GATEHOUSE_OUTBOUND", "local")
    return World(front, people)


def test_every_route_that_changes_something_is_declared() -> None:
    changing = {
        f"{route.method} {route.path}"
        for route in routes()
        if route.method in {"POST", "PUT", "PATCH", "DELETE"}
    }
    declared = [*LEAVES, *ENDS_OR_LEAVES_NOTHING, *WITHOUT_A_KEY]
    assert sorted(declared) == sorted(changing)


def test_routes_without_a_key_are_those_that_are_declared_so() -> None:
    public = {
        f"{route.method} {route.path}"
        for route in routes()
        if route.public and route.method in {"POST", "PUT", "PATCH", "DELETE"}
    }
    assert public == set(WITHOUT_A_KEY)


@pytest.mark.parametrize("route", LEAVES)
def test_a_route_that_leaves_something_behind_asks_what_exceeds_the_caller(
    front: Front, world: World, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    method = route.partition(" ")[0]
    path, body = LEAVES[route](world)
    asked: list[Reach] = []
    real = reach.beyond

    def beyond(bound: Reach, thing: Reach) -> dict[str, Any]:
        asked.append(bound)
        return real(bound, thing)

    monkeypatch.setattr(reach, "beyond", beyond)
    answer = front(method, path, key=world.boss.key, body=body)
    assert answer.status in {200, 201, 202, 409}, answer.text
    assert caller_of(front, world.boss) in asked


def caller_of(front: Front, holder: Holder) -> Reach:
    """Return the reach of a holder's key, as `whoami` shows it."""
    me = front("GET", "/v1/whoami", key=holder.key).json()["data"]
    rights = frozenset({reach.LIVE, reach.ADMIN, reach.UNRESTRICTED_CLAW})
    assert me["grants"]["scopes"] == ["*"]
    return Reach(reach.Grants(("*",)), None, me["key"]["rate_limit"], rights)
