"""Idempotency-Key if the response has no secret: a repeat returns the first response."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.faults import Wire, conflict_in_transaction, error, first
from support.aws.invocation import Answer
from support.checks.inspection import State
from support.worlds.held_clock import HeldClock

Post = Callable[..., Answer]


@pytest.fixture
def admin(people: People, held: HeldClock) -> Holder:
    del held
    return people.tenant()


@pytest.fixture
def post(front: Front, admin: Holder) -> Post:
    """Return a function that emits the same body under this test's Idempotency-Key."""
    token = f"token-{secrets.token_hex(8)}"

    def send(**changes: Any) -> Answer:
        headers = {"Idempotency-Key": changes.pop("token", token)}
        holder = changes.pop("holder", admin)
        body = {"signal_type": "alert", "content": "grüße \u2603", "urgency": 0.30, **changes}
        return front("POST", "/emit", key=holder.key, body=body, headers=headers)

    return send


def stored(stack: Tables, prefix: str) -> list[dict[str, Any]]:
    return [item for item in State(stack).main if item["pk"].startswith(prefix)]


def count(stack: Tables) -> int:
    return len(stored(stack, "SIGNAL#"))


def check_again(first_answer: Answer, again: Answer) -> None:
    """Check that a response is the first one byte for byte, marked as replayed."""
    assert first_answer.status == again.status == 201
    assert first_answer.text == again.text
    assert "idempotent-replayed" not in first_answer.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == first_answer.headers["content-type"]
    assert again.headers["x-request-id"] == again.request_id != first_answer.request_id


@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_a_repeat_returns_the_first_response_and_stores_nothing(
    front: Front, stack: Tables, post: Post, shape: str
) -> None:
    front.shape = shape
    made = post()
    before = count(stack)
    for _ in range(3):
        check_again(made, post())
    front.shape = "aws"
    assert count(stack) == before
    assert post(token="another").json()["data"]["id"] != made.json()["data"]["id"]


def test_a_repeat_returns_the_first_response_even_after_a_claim(
    front: Front, admin: Holder, post: Post
) -> None:
    made = post()
    body = {"signal_id": made.json()["data"]["id"]}
    assert front("POST", "/claim", key=admin.key, body=body).status == 200
    check_again(made, post())


def test_another_body_under_the_same_key_is_409_without_details(stack: Tables, post: Post) -> None:
    made = post()
    before = count(stack)
    for changes in ({"content": "other"}, {"urgency": 0.31}, {"tags": ["one"]}):
        refused = post(**changes)
        error_body = refused.json()["error"]
        assert (refused.status, error_body["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
        assert error_body["message"] == "Idempotency-Key was used with another body"
        assert made.json()["data"]["id"] not in refused.text
        assert "idempotent-replayed" not in refused.headers
    assert count(stack) == before


def test_after_a_day_the_same_key_emits_another_signal(held: HeldClock, post: Post) -> None:
    made = post()
    held.advance(seconds=86_399.999999)
    check_again(made, post())
    held.advance(micros=1)
    anew = post()
    assert anew.json()["data"]["id"] != made.json()["data"]["id"]
    check_again(anew, post())


def test_idempotency_keys_of_two_identities_are_independent(
    people: People, admin: Holder, post: Post
) -> None:
    holders = [admin, people.tenant(), people.employee(admin)]
    answers = [post(holder=holder) for holder in holders]
    assert len({answer.json()["data"]["id"] for answer in answers}) == len(holders)
    for holder, answer in zip(holders, answers, strict=True):
        check_again(answer, post(holder=holder))
    assert post(holder=people.key(admin)).text == answers[0].text, "keys of one identity share it"


def test_a_refused_request_does_not_use_its_idempotency_key(admin: Holder, post: Post) -> None:
    assert post(content="").status == 400
    assert post(to_identity=f"identity:{admin.account_id}").status == 404
    assert post().status == 201


def test_the_idempotency_record_has_the_response_and_expires_after_a_day(
    stack: Tables, held: HeldClock, post: Post
) -> None:
    made = post()
    name = made.json()["data"]["id"]
    (record,) = [one for one in stored(stack, "IDEMPOTENCY#") if one["made"] == name]
    names = {"pk", "sk", "body_hash", "made", "expires_at", "ttl", "status", "answer"}
    assert set(record) == names
    assert (record["status"], record["answer"]) == (201, made.text)
    assert record["ttl"] == held.at // 1_000_000 + 86_400


@pytest.mark.parametrize("operation", ["GetItem", "TransactWriteItems"])
def test_two_concurrent_requests_emit_once_and_get_the_same_response(
    stack: Tables, line: Wire, post: Post, operation: str
) -> None:
    """The second request runs before the first one's read, or between its read and write."""
    between: list[Answer] = []

    def elsewhere() -> None:
        asyncio.set_event_loop(loop := asyncio.new_event_loop())
        between.append(post())
        loop.close()

    def before(_: int, called: str) -> None:
        if called == operation:
            line.before = None
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()

    before_count = count(stack)
    line.before = before
    outer = post()
    check_again(between[0], outer)
    assert count(stack) == before_count + 1


def test_of_two_concurrent_requests_with_different_bodies_one_is_refused(
    stack: Tables, line: Wire, post: Post
) -> None:
    between: list[Answer] = []

    def elsewhere() -> None:
        asyncio.set_event_loop(loop := asyncio.new_event_loop())
        between.append(post(content="other"))
        loop.close()

    def before(_: int, called: str) -> None:
        if called == "TransactWriteItems":
            line.before = None
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()

    before_count = count(stack)
    line.before = before
    outer = post()
    assert between[0].status == 201
    assert (outer.status, outer.json()["error"]["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert count(stack) == before_count + 1


def test_a_conflict_on_the_idempotency_key_is_retried_and_then_503(
    stack: Tables, line: Wire, post: Post, sleeps: list[float]
) -> None:
    before_count = count(stack)
    line.before = first(3, lambda: conflict_in_transaction(2), "TransactWriteItems")
    assert post().status == 201
    assert len(sleeps) == 3
    line.before = first(99, lambda: error("TransactionConflictException"), "TransactWriteItems")
    late = post(token="late")
    assert (late.status, late.headers["retry-after"]) == (503, "1")
    line.clear()
    assert post(token="late").status == 201
    assert count(stack) == before_count + 2
