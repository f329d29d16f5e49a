"""The list of signals: order, cursors, filters and retention."""

from __future__ import annotations

import pytest

from support.actors.people import Holder, People
from support.actors.signal_routes import DAYS, act, check, emitted, listed, show
from support.aws.api_gateway import Front
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("held")


def test_a_list_is_newest_first_and_continues_from_its_cursor(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    ids = []
    for _ in range(7):
        held.advance(seconds=7 * 3_600)  # over two midnights
        ids.insert(0, emitted(front, admin)["id"])
    assert listed(front, admin) == ids
    for limit in (1, 2, 3, 7):
        listed_ids, query = [], {"limit": str(limit)}
        while True:
            page = front("GET", "/signals/list", key=admin.key, query=query)
            listed_ids += [one["id"] for one in page.json()["data"]]
            cursor = page.json()["meta"].get("cursor")
            assert cursor == page.headers.get("x-next-cursor")
            if cursor is None:
                break
            query["after"] = cursor
        assert listed_ids == ids
    full = front("GET", "/signals/list", key=admin.key, query={"limit": "7"})
    assert "cursor" not in full.json()["meta"]


def test_a_list_is_filtered_by_type_and_ring(front: Front, admin: Holder) -> None:
    made = {
        (kind, ring): emitted(front, admin, signal_type=kind, to_ring=ring)["id"]
        for kind in ("pulse", "task")
        for ring in ("a", "b", None)
    }
    assert set(listed(front, admin)) == set(made.values())
    tasks = {one for (kind, _), one in made.items() if kind == "task"}
    assert set(listed(front, admin, type="task")) == tasks
    in_a = {one for (_, ring), one in made.items() if ring == "a"}
    assert set(listed(front, admin, ring="a")) == in_a
    assert listed(front, admin, type="task", ring="b") == [made["task", "b"]]
    assert listed(front, admin, type="alert") == []
    assert listed(front, admin, type="ping") == []
    assert listed(front, admin, ring="c") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"type": "noise"}, "type"),
        ({"type": ""}, "type"),
        ({"ring": ""}, "ring"),
        ({"ring": "x" * 65}, "ring"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after": "made-up"}, "after"),
    ],
)
def test_a_bad_query_parameter_is_400_and_named(
    front: Front, admin: Holder, query: dict[str, str], field: str
) -> None:
    answer = front("GET", "/signals/list", key=admin.key, query=query)
    assert answer.status == 400
    assert answer.json()["error"]["details"] == {"field": field}


def test_a_cursor_is_valid_for_one_account_and_one_list_only(
    front: Front, people: People, admin: Holder
) -> None:
    stranger = people.tenant()
    for _ in range(2):
        emitted(front, stranger)
        people.key(admin)
    theirs = front("GET", "/signals/list", key=stranger.key, query={"limit": "1"})
    keys = front("GET", "/admin/api-keys", key=admin.key, query={"limit": "1"})
    for page in (theirs, keys):
        query = {"after": page.headers["x-next-cursor"]}
        refused = front("GET", "/signals/list", key=admin.key, query=query)
        check(refused, 400, "VALIDATION_INVALID_VALUE", "after")


def test_a_signal_is_not_found_after_its_retention(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    data = emitted(front, admin, signal_type="task")
    held.advance(seconds=30 * DAYS, micros=-1)
    assert listed(front, admin) == [data["id"]]
    assert show(front, admin, data).status == 200
    held.advance(micros=1)
    assert listed(front, admin) == []
    check(show(front, admin, data), 404, "SIGNAL_NOT_FOUND")
    for what in ("claim", "ack"):
        check(act(front, admin, what, data), 404, "SIGNAL_NOT_FOUND")
