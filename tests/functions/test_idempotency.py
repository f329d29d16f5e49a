"""Idempotency-Key: a repeated creation never creates twice."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import Front, error_text
from support.aws.faults import Wire
from support.aws.invocation import Answer
from support.checks.inspection import check_everything, items
from support.worlds.held_clock import HeldClock

Post = Callable[..., Answer]
ROUTES = ["accounts", "services", "account", "admin", "rotate", "admin rotate"]


@pytest.fixture
def admin(people: People, held: HeldClock) -> Holder:
    del held
    return people.tenant()


def _post(front: Front, people: People, admin: Holder, route: str) -> Post:
    """Return a function that posts a fixed body to one of the creating routes."""
    old = people.key(admin)
    path, body = {
        "accounts": ("/v1/accounts", {"name": "Acme"}),
        "services": ("/api/auth/keys", {"name": "x"}),
        "account": ("/v1/api-keys", {"name": "x"}),
        "admin": ("/admin/api-keys", {"owner": admin.identity_id}),
        "rotate": (f"/v1/api-keys/{old.key_id}/rotate", {"grace_seconds": 60}),
        "admin rotate": (f"/admin/api-keys/{old.key_id}/rotate", {"grace_seconds": 60}),
    }[route]

    key = None if route == "accounts" else admin.key
    source = str(IPv4Address(secrets.randbits(32)))  # identifies the caller on public routes

    def post(token: str, **changes: Any) -> Answer:
        headers = {"Idempotency-Key": token}
        there = {"key": key, "headers": headers, "source": source}
        return front("POST", path, body={**body, **changes}, **there)

    return post


def _count(stack: Tables) -> int:
    return len(items(stack.keys))


def _made(answer: Answer) -> str:
    value = answer.json()
    value = value.get("data", value)
    return value["account"]["id"] if "account" in value else value["id"].split(":")[-1]


@pytest.mark.parametrize("route", ROUTES)
def test_a_repeat_is_a_409_that_names_what_was_created(
    front: Front, people: People, admin: Holder, stack: Tables, route: str
) -> None:
    post = _post(front, people, admin, route)
    first = post("once")
    assert first.status in {200, 201}
    before = _count(stack)
    repeat = post("once")
    assert repeat.status == 409
    assert _made(first) in error_text(repeat)
    if "admin" in route:
        assert repeat.json()["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"
        assert repeat.json()["error"]["details"] == {"id": _made(first)}
    assert _count(stack) == before
    assert post("twice").status == first.status


@pytest.mark.parametrize("route", ROUTES)
def test_the_same_key_with_another_body_is_a_409(
    front: Front, people: People, admin: Holder, stack: Tables, route: str
) -> None:
    post = _post(front, people, admin, route)
    first = post("once")
    before = _count(stack)
    changes = {"grace_seconds": 61} if "rotate" in route else {"name": "y"}
    other = post("once", **changes)
    assert other.status == 409
    assert error_text(other) == "Idempotency-Key was used with another body"
    assert _made(first) not in other.text
    assert _count(stack) == before


@pytest.mark.parametrize("route", ROUTES)
def test_after_24_hours_the_key_can_be_used_again(
    front: Front, people: People, admin: Holder, held: HeldClock, route: str
) -> None:
    post = _post(front, people, admin, route)
    if "rotate" in route:
        assert post("once").status in {200, 201}
        held.advance(seconds=86_400)
        assert post("once").status == 404, "the key that was rotated is revoked by then"
        return
    first = post("once")
    held.advance(seconds=86_399.999999)
    assert post("once").status == 409
    held.advance(micros=1)
    anew = post("once")
    assert anew.status == 201
    assert _made(anew) != _made(first)
    assert _made(anew) in error_text(post("once"))


def test_two_requests_at_once_create_one_thing(
    front: Front, people: People, admin: Holder, stack: Tables, line: Wire
) -> None:
    """The second request runs between the first one's read and its write."""

    def elsewhere(post: Post, answers: list[Answer]) -> None:
        asyncio.set_event_loop(loop := asyncio.new_event_loop())
        answers.append(post("both"))
        loop.close()

    for route in ROUTES:
        post = _post(front, people, admin, route)
        between: list[Answer] = []

        def before(_: int, operation: str, post: Post = post, between: list = between) -> None:
            if operation == "TransactWriteItems":
                line.before = None
                thread = threading.Thread(target=elsewhere, args=(post, between))
                thread.start()
                thread.join()

        before_count = _count(stack)
        line.before = before
        outer = post("both")
        assert between[0].status in {200, 201}, route
        assert outer.status == 409, route
        assert _made(between[0]) in error_text(outer)
        assert _count(stack) == before_count + 1, route


def test_a_key_belongs_to_one_caller_and_one_route(
    front: Front, people: People, admin: Holder
) -> None:
    stranger, employee = people.tenant(), people.employee(admin)
    headers = {"Idempotency-Key": "shared"}
    body = {"name": "x"}
    for holder in (admin, stranger, employee):
        for path in ("/api/auth/keys", "/v1/api-keys"):
            assert front("POST", path, key=holder.key, body=body, headers=headers).status == 201
    for source, status in (("203.0.113.1", 201), ("203.0.113.2", 201), ("203.0.113.1", 409)):
        answer = front("POST", "/v1/accounts", body=body, headers=headers, source=source)
        assert answer.status == status


@pytest.mark.parametrize("token", ["", "x" * 256, "é", "a\tb", "a\x7f", "\u2603"])
@pytest.mark.parametrize("path", ["/api/auth/keys", "/v1/api-keys", "/v1/accounts"])
def test_an_invalid_idempotency_key_is_a_400(
    front: Front, admin: Holder, path: str, token: str
) -> None:
    key = None if path == "/v1/accounts" else admin.key
    headers = {"Idempotency-Key": token}
    answer = front("POST", path, key=key, body={"name": "x"}, headers=headers)
    assert answer.status == 400
    assert error_text(answer) == "Idempotency-Key must be 1 to 255 printable ASCII characters"


def test_the_longest_allowed_key_works(front: Front, admin: Holder) -> None:
    headers = {"Idempotency-Key": "~ " * 127 + "x"}
    for status in (201, 409):
        answer = front("POST", "/v1/api-keys", key=admin.key, body={"name": "x"}, headers=headers)
        assert answer.status == status


def test_a_refused_request_does_not_use_up_its_key(front: Front, admin: Holder) -> None:
    headers = {"Idempotency-Key": "again"}
    for body, status in (({"name": ""}, 400), ({"name": "x", "rate_limit": None}, 403)):
        answer = front("POST", "/v1/api-keys", key=admin.key, body=body, headers=headers)
        assert answer.status == status
    made = front("POST", "/v1/api-keys", key=admin.key, body={"name": "x"}, headers=headers)
    assert made.status == 201


def test_a_used_key_affects_no_other_request(front: Front, people: People, admin: Holder) -> None:
    headers = {"Idempotency-Key": "kept"}
    key = people.key(admin)
    for method, path, body in (
        ("GET", "/v1/api-keys", None),
        ("PATCH", f"/v1/api-keys/{key.key_id}", {"name": "y"}),
        ("POST", "/v1/keys/verify", {"key": key.key}),
    ):
        for _ in range(2):
            answer = front(method, path, key=admin.key, body=body, headers=headers)
            assert answer.status == 200


def test_no_record_holds_a_secret_and_all_expire(
    front: Front, admin: Holder, stack: Tables, held: HeldClock
) -> None:
    headers = {"Idempotency-Key": "record"}
    answer = front("POST", "/v1/api-keys", key=admin.key, body={"name": "x"}, headers=headers)
    records = [
        item
        for item in stack.main.client.scan(TableName=stack.main.name)["Items"]
        if item["pk"]["S"].startswith("IDEMPOTENCY#")
    ]
    mine = [item for item in records if item["made"]["S"] == _made(answer)]
    assert len(mine) == 1
    assert set(mine[0]) == {"pk", "sk", "body_hash", "made", "expires_at", "ttl"}
    assert int(mine[0]["ttl"]["N"]) == held.at // 1_000_000 + 86_400
    assert answer.json()["data"]["key"] not in str(records)
    check_everything(stack, now=held.at)
