"""Accounts cannot see each other, and no key can create one with more than it has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatehouse.core.grants import Grants
from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.aws.invocation import Answer
from support.worlds.held_clock import HeldClock


@pytest.fixture(scope="module")
def mine(people: People) -> Holder:
    return people.tenant("Mine")


@pytest.fixture(scope="module")
def theirs(people: People) -> Holder:
    return people.tenant("Theirs")


def test_lists_show_nothing_of_another_account(
    front: Front, people: People, mine: Holder, theirs: Holder
) -> None:
    people.key(theirs, name="their-own-key")
    for path in ("/api/auth/keys", "/v1/api-keys", "/admin/api-keys", "/admin/audit"):
        answer = front("GET", path, key=mine.key)
        assert answer.status == 200
        for marker in (theirs.account_id, theirs.identity_id, theirs.key_id, "their-own-key"):
            assert marker not in answer.text


def test_another_accounts_key_answers_like_an_unknown_key(
    front: Front, mine: Holder, theirs: Holder
) -> None:
    never = "0190a3c4-7d52-7b1e-9c1e-2f3a4b5c6d7e"
    for method, path, body in (
        ("DELETE", "/api/auth/keys/{id}", None),
        ("DELETE", "/v1/api-keys/{id}", None),
        ("PATCH", "/v1/api-keys/{id}", {"enabled": False}),
        ("POST", "/v1/api-keys/{id}/rotate", {}),
        ("POST", "/admin/api-keys/{id}/rotate", {}),
        ("POST", "/admin/api-keys/{id}/revoke", {}),
    ):
        answers = [
            front(method, path.replace("{id}", bare), key=mine.key, body=body)
            for bare in (theirs.key_id, never)
        ]
        assert [answer.status for answer in answers] == [404, 404]
        texts = [answer.text.replace(answer.request_id, "") for answer in answers]
        assert texts[0] == texts[1]
    assert front("GET", "/v1/whoami", key=theirs.key).status == 200


def test_another_accounts_identity_cannot_own_a_key(
    front: Front, mine: Holder, theirs: Holder
) -> None:
    body = {"owner": theirs.identity_id}
    answer = front("POST", "/admin/api-keys", key=mine.key, body=body)
    assert answer.status == 404
    assert answer.json()["error"]["code"] == "IDENTITY_NOT_FOUND"


def test_another_accounts_key_verifies_as_unknown(
    front: Front, mine: Holder, theirs: Holder
) -> None:
    answer = front("POST", "/v1/keys/verify", key=mine.key, body={"key": theirs.key})
    assert answer.json()["data"]["code"] == "NOT_FOUND"
    assert theirs.key_id not in answer.text


LISTS = ("/api/auth/keys", "/v1/api-keys", "/admin/api-keys", "/admin/audit")


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_of_another_account_or_list_is_refused(
    front: Front, people: People, mine: Holder, theirs: Holder, path: str
) -> None:
    people.key(theirs)
    people.key(mine)
    there = front("GET", path, key=theirs.key, query={"limit": "1"})
    others = {
        other: front("GET", other, key=mine.key, query={"limit": "1"}).headers["x-next-cursor"]
        for other in LISTS
    }
    own = others.pop(path)
    for cursor in (there.headers["x-next-cursor"], *others.values(), own[:-2], own + "AA", "?"):
        answer = front("GET", path, key=mine.key, query={"after": cursor})
        assert answer.status == 400
        assert error_text(answer) == "Invalid cursor"
    assert front("GET", path, key=mine.key, query={"after": own}).status == 200


def _mint(front: Front, surface: str, holder: Holder, **fields: Any) -> Answer:
    if surface == "services":
        names = {"expires_at": "expiresAt", "rate_limit": "rateLimit"}
        body = {"name": "x", "scopes": ["*"]} | {names.get(k, k): v for k, v in fields.items()}
        return front("POST", "/api/auth/keys", key=holder.key, body=body)
    if surface == "account":
        return front("POST", "/v1/api-keys", key=holder.key, body={"name": "x", **fields})
    body = {"owner": holder.identity_id, **fields}
    return front("POST", "/admin/api-keys", key=holder.key, body=body)


SURFACES = pytest.mark.parametrize("surface", ["services", "account", "admin"])


@SURFACES
@pytest.mark.parametrize(
    ("wanted", "excess"),
    [
        ({"scopes": ["*"]}, {"scopes": ["*"]}),
        (
            {"scopes": ["services:read", "telemetry:read", "factory:*"]},
            {"scopes": ["telemetry:read", "factory:*"]},
        ),
        ({"scopes": ["*:read"]}, {"scopes": ["*:read"]}),
        ({"scopes": ["admin:*", "services:*"]}, {}),
        ({"rate_limit": 101}, {"rate_limit": 101}),
        ({"rate_limit": None}, {"rate_limit": None}),
        ({"rate_limit": 100}, {}),
        ({"expires_at": None}, {"expires_at": None}),
        ({"expires_at": "2100-01-01T00:00:00.001Z"}, {"expires_at": "2100-01-01T00:00:00.001Z"}),
        ({"expires_at": "2100-01-01T01:00:00+01:00"}, {}),
    ],
)
def test_no_key_can_create_one_with_more_than_it_has(
    front: Front, people: People, mine: Holder, surface: str, wanted: dict, excess: dict
) -> None:
    holder = people.key(
        mine,
        scopes=["services:*", "admin:manage", "admin:*"],
        rate_limit=100,
        expires_at="2100-01-01T00:00:00Z",
    )
    within = {"scopes": ["services:read"], "expires_at": "2099-01-01T00:00:00Z"}
    answer = _mint(front, surface, holder, **{**within, **wanted})
    if not excess:
        assert answer.status == 201
        return
    assert answer.status == 403
    named = "; ".join(f"{name}: {json.dumps(value)}" for name, value in excess.items())
    assert error_text(answer) == f"Beyond this key's own grants: {named}"
    if surface == "admin":
        assert answer.json()["error"]["code"] == "GRANTS_EXCEEDED"
        assert answer.json()["error"]["details"] == excess


@pytest.mark.parametrize("surface", ["account", "admin"])
def test_permissions_are_never_widened(
    front: Front, people: People, mine: Holder, surface: str
) -> None:
    holder = people.key(mine, permissions={"ring_scopes": ["a", "b"], "signal_types": ["task"]})
    for permissions, status in (
        ({"ring_scopes": ["a"], "signal_types": ["task"]}, 201),
        ({"ring_scopes": ["a"], "signal_types": ["task"], "task_types": ["x"]}, 201),
        ({"ring_scopes": ["c"], "signal_types": ["task"]}, 403),
        ({"ring_scopes": ["a"]}, 403),
        ({}, 403),
    ):
        assert _mint(front, surface, holder, permissions=permissions).status == status
    said_of = _mint(front, "admin", holder, permissions={"ring_scopes": ["c", "a"]})
    assert said_of.json()["error"]["details"] == {"ring_scopes": ["c"], "signal_types": ["*"]}
    services = front("POST", "/api/auth/keys", key=holder.key, body={"name": "x"})
    assert services.status == 403, "a key without permissions is unrestricted"


def test_a_default_limit_is_lowered_where_a_requested_one_is_refused(
    front: Front, people: People, mine: Holder
) -> None:
    holder = people.key(mine, rate_limit=7)
    made = front("POST", "/api/auth/keys", key=holder.key, body={"name": "x"})
    assert made.json()["rateLimit"] == 7


@pytest.mark.parametrize("verb", ["rotate", "rename", "enable"])
def test_a_narrow_key_cannot_rotate_rename_or_enable_a_wider_one(
    front: Front, people: People, mine: Holder, verb: str, held: HeldClock
) -> None:
    greater = people.key(mine)
    lesser = {
        "scopes": people.key(mine, scopes=["services:write"]),
        "rate_limit": people.key(mine, rate_limit=5),
        "expires_at": people.key(mine, expires_at=held.text(seconds=60)),
        "ring_scopes": people.key(mine, permissions={"ring_scopes": ["a"]}),
    }
    path = f"/v1/api-keys/{greater.key_id}"
    for what, holder in lesser.items():
        answer = {
            "rotate": lambda key: front("POST", f"{path}/rotate", key=key, body={}),
            "rename": lambda key: front("PATCH", path, key=key, body={"name": "y"}),
            "enable": lambda key: front("PATCH", path, key=key, body={"enabled": True}),
        }[verb](holder.key)
        assert answer.status == 403
        assert what in error_text(answer)
    assert front("GET", "/v1/whoami", key=greater.key).status == 200


@pytest.mark.parametrize(
    "narrow",
    [
        {"scopes": ["services:write"]},
        {"rate_limit": 50},
        {"permissions": {"ring_scopes": ["a"]}},
        {"expires_at": "2100-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_a_narrow_key_may_narrow_disable_and_revoke_a_wider_one(
    front: Front, people: People, mine: Holder, narrow: dict[str, Any]
) -> None:
    greater, lesser = people.key(mine), people.key(mine, **narrow)
    path = f"/v1/api-keys/{greater.key_id}"
    for less in ({"rate_limit": 5_999}, {"expires_at": "2101-01-01T00:00:00Z"}):
        assert front("PATCH", path, key=lesser.key, body=less).status == 200
    both = {"rate_limit": 5, "metadata": {"plan": "free"}}
    assert front("PATCH", path, key=lesser.key, body=both).status == 403
    assert front("PATCH", path, key=lesser.key, body={"enabled": False}).status == 200
    assert front("GET", "/v1/whoami", key=greater.key).status == 401
    assert front("PATCH", path, key=lesser.key, body={"enabled": True}).status == 403
    assert front("DELETE", path, key=lesser.key).status == 204


def test_a_patch_never_raises_a_key_beyond_the_callers_own(
    front: Front, people: People, mine: Holder, held: HeldClock
) -> None:
    limits = {"rate_limit": 10, "expires_at": held.text(seconds=100)}
    holder = people.key(mine, **limits)
    path = f"/v1/api-keys/{holder.key_id}"
    for body, status in (
        ({"rate_limit": 11}, 403),
        ({"rate_limit": None}, 403),
        ({"expires_at": held.text(seconds=101)}, 403),
        ({"expires_at": None}, 403),
        ({"rate_limit": 9, "expires_at": held.text(seconds=99), "name": "less"}, 200),
    ):
        answer = front("PATCH", path, key=holder.key, body=body)
        assert answer.status == status
        if status == 403:
            assert error_text(answer).startswith("Beyond this key's own grants: ")


def test_an_employee_is_also_bound_by_their_own_ceiling(
    front: Front, people: People, mine: Holder
) -> None:
    member = people.member(mine, ceiling=Grants(("services:*",)))
    holder = people.key_for(mine, member, scopes=["services:*"])
    refused = front("POST", "/v1/api-keys", key=holder.key, body={"name": "x"})
    assert refused.status == 403
    assert error_text(refused) == 'Beyond this key\'s own grants: scopes: ["*"]'
    body = {"name": "x", "scopes": ["services:read"]}
    assert front("POST", "/v1/api-keys", key=holder.key, body=body).status == 201
