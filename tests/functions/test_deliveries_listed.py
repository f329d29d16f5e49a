"""`GET /admin/webhooks/deliveries`: all deliveries of an account, and what an attempt shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatehouse.core import clock, ids
from gatehouse.core.clock import MINUTE, rfc3339
from gatehouse.deliveries import rules, store
from gatehouse.deliveries.model import Attempt, Delivered, GiveUp, Outcome
from gatehouse.deliveries.model import DeadLetterReason as Reason
from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import Front

pytestmark = pytest.mark.usefixtures("settings_key", "delivery_queue", "held", "loopback_allowed")

PATH = "/admin/webhooks/deliveries"
URL = "http://127.0.0.1:9000/in?token=t"


@pytest.fixture
def hooks(front: Front, admin: Holder) -> list[str]:
    """Two webhooks of the account, as bare ids."""
    made = [front("POST", "/admin/webhooks", key=admin.key, body={"url": URL}) for _ in range(2)]
    return [str(one.json()["data"]["id"]).removeprefix("webhook:") for one in made]


class Shelf:
    """Deliveries of an account; each is a minute younger than the one before."""

    def __init__(self, tables: Tables, admin: Holder) -> None:
        self._tables = tables
        self._admin = admin
        self.start = clock.now() - 100 * MINUTE
        self.count = 0

    def moment(self, number: int) -> int:
        return self.start + number * MINUTE

    def add(self, hook: str, *, event: str = "alert", action: Any = None) -> str:
        """Write a delivery, attempted once if there is an action; return its id."""
        at = self.moment(self.count)
        self.count += 1
        signal = ids.new(at)
        one = rules.new_delivery(
            id=rules.id_of(signal, hook),
            account_id=self._admin.account_id,
            webhook_id=hook,
            signal_id=signal,
            event=event,
            signal_ends_at=at + 10_000 * MINUTE,
            now=at,
        )
        if action is not None:
            outcome = Outcome(200 if isinstance(action, Delivered) else 500)
            attempt = Attempt(
                *(1, at, 7, outcome.status_code, None, "ok", URL),
                *({"X-Token": None, "webhook-id": "i"}, {"server": "s", "set-cookie": None}),
            )
            one = replace(rules.after_attempt(one, outcome, action=action, now=at), last=attempt)
        store.insert(self._tables.main, one)
        return f"delivery:{one.id}"


@pytest.fixture
def shelf(stack: Tables, admin: Holder) -> Shelf:
    return Shelf(stack, admin)


def listed(front: Front, holder: Holder, **query: str) -> list[str]:
    answer = front("GET", PATH, key=holder.key, query=query)
    assert answer.status == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def test_deliveries_of_all_webhooks_are_listed_newest_first(
    front: Front, people: People, admin: Holder, hooks: list[str], shelf: Shelf
) -> None:
    assert listed(front, admin) == []
    made = [shelf.add(hooks[number % 2], action=Delivered()) for number in range(7)]

    assert listed(front, admin) == made[::-1]
    assert listed(front, people.tenant()) == []

    shown = front("GET", PATH, key=admin.key, query={"limit": "1"}).json()["data"][0]
    beside = front("GET", f"/admin/webhooks/{hooks[0]}/deliveries", key=admin.key).json()["data"][0]
    assert shown == beside


def test_deliveries_are_filtered_by_webhook_status_event_and_time(
    front: Front, admin: Holder, hooks: list[str], shelf: Shelf
) -> None:
    dead = GiveUp(Reason.EXHAUSTED)
    first = shelf.add(hooks[0], action=Delivered())
    second = shelf.add(hooks[1], action=dead)
    third = shelf.add(hooks[0], event="task", action=dead)
    fourth = shelf.add(hooks[1], event="task")

    assert listed(front, admin, webhook=hooks[0]) == [third, first]
    assert listed(front, admin, webhook=f"webhook:{hooks[1]}") == [fourth, second]
    assert listed(front, admin, status="dead_letter") == [third, second]
    assert listed(front, admin, status="delivered") == [first]
    assert listed(front, admin, status="pending") == [fourth]
    assert listed(front, admin, event="task") == [fourth, third]
    assert listed(front, admin, event="Task") == []
    assert listed(front, admin, since=rfc3339(shelf.moment(2))) == [fourth, third]
    assert listed(front, admin, since=rfc3339(shelf.moment(2) + 1_000)) == [fourth]
    assert listed(front, admin, status="dead_letter", event="task", webhook=hooks[0]) == [third]
    assert listed(front, admin, status="dead_letter", since=rfc3339(shelf.moment(2))) == [third]


@pytest.mark.parametrize("status", [None, "dead_letter"])
def test_pages_follow_each_other_without_a_gap_or_a_repeat(
    front: Front, admin: Holder, hooks: list[str], shelf: Shelf, status: str | None
) -> None:
    dead = GiveUp(Reason.EXHAUSTED)
    made = [shelf.add(hooks[number % 2], action=dead) for number in range(12)]
    query = {"limit": "5"} | ({"status": status} if status else {})
    found: list[str] = []
    sizes = []
    while True:
        answer = front("GET", PATH, key=admin.key, query=query).json()
        found += [one["id"] for one in answer["data"]]
        sizes.append(len(answer["data"]))
        if not answer["meta"].get("cursor"):
            break
        query["after"] = answer["meta"]["cursor"]

    assert (found, sizes) == (made[::-1], [5, 5, 2])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "lost"}, "status"),
        ({"webhook": "x"}, "webhook"),
        ({"webhook": "delivery:0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e"}, "webhook"),
        ({"event": "a" * 101}, "event"),
        ({"since": "yesterday"}, "since"),
        ({"limit": "101"}, "limit"),
        ({"after": "made-up"}, "after"),
        ({"stauts": "pending"}, "stauts"),
    ],
)
def test_a_bad_parameter_is_named(
    front: Front, admin: Holder, query: dict[str, str], field: str
) -> None:
    answer = front("GET", PATH, key=admin.key, query=query)

    assert answer.status == 400
    assert field in answer.text
    assert listed(front, admin, event="a" * 100) == []


def test_a_webhook_of_another_account_is_not_found(
    front: Front, people: People, hooks: list[str], shelf: Shelf
) -> None:
    shelf.add(hooks[0])
    answer = front("GET", PATH, key=people.tenant().key, query={"webhook": hooks[0]})

    assert (answer.status, answer.json()["error"]["code"]) == (404, "WEBHOOK_NOT_FOUND")


def test_a_cursor_of_one_webhook_is_none_of_all(
    front: Front, admin: Holder, hooks: list[str], shelf: Shelf
) -> None:
    for _ in range(2):
        shelf.add(hooks[0])
    one = front(
        "GET", f"/admin/webhooks/{hooks[0]}/deliveries", key=admin.key, query={"limit": "1"}
    )
    query = {"after": one.json()["meta"]["cursor"]}

    assert front("GET", PATH, key=admin.key, query=query).status == 400


def test_an_attempt_shows_its_url_and_the_headers_of_both_sides(
    front: Front, admin: Holder, hooks: list[str], shelf: Shelf
) -> None:
    made = shelf.add(hooks[0], action=Delivered())
    [attempt] = front("GET", f"{PATH}/{made}", key=admin.key).json()["data"]["attempts"]

    assert attempt == {
        "number": 1,
        "started_at": rfc3339(shelf.moment(0)),
        "duration_ms": 7,
        "status_code": 200,
        "error": None,
        "response": "ok",
        "url": URL,
        "request_headers": {"X-Token": None, "webhook-id": "i"},
        "response_headers": {"server": "s", "set-cookie": None},
    }
