"""Sessions of the page and tickets of sockets, through the authorizer and the functions."""

from __future__ import annotations

import re

import pytest

from gatehouse.dynamo.table import Tables
from support.actors.people import Holder, People
from support.aws.api_gateway import Front
from support.aws.faults import Wire
from support.aws.invocation import Answer
from support.checks.inspection import items
from support.worlds.held_clock import HeldClock

pytestmark = pytest.mark.usefixtures("held")

PAGE = {"X-Gatehouse-Page": "1"}
COOKIE = re.compile(
    r"(gatehouse-api1234567=[A-Za-z0-9_-]{43}); Max-Age=(\d+);"
    r" Path=/; HttpOnly; Secure; SameSite=Strict"
)


@pytest.fixture
def admin(people: People) -> Holder:
    return people.tenant()


def sign_in(front: Front, key: str) -> str:
    """Return the cookie of a new session."""
    answer = front("POST", "/auth/session", key=key)
    assert (answer.status, answer.text) == (204, "")
    found = COOKIE.fullmatch(answer.headers["set-cookie"])
    assert found, answer.headers["set-cookie"]
    return found[1]


def ask(front: Front, cookie: str, path: str = "/v1/whoami", method: str = "GET") -> Answer:
    return front(method, path, headers={**PAGE, "Cookie": cookie})


def test_a_session_acts_as_its_key_for_twelve_hours(
    front: Front, admin: Holder, held: HeldClock
) -> None:
    cookie = sign_in(front, admin.key)
    me = ask(front, cookie)
    assert me.status == 200
    assert me.json()["data"]["key"]["id"] == admin.key_id
    held.advance(seconds=12 * 3600, micros=-1)
    assert ask(front, cookie).status == 200
    held.advance(micros=1)
    assert ask(front, cookie).status == 401


def test_a_session_never_outlives_its_key(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    short = people.key(admin, expires_at=held.text(seconds=90))
    answer = front("POST", "/auth/session", key=short.key)
    found = COOKIE.fullmatch(answer.headers["set-cookie"])
    assert found
    assert found[2] == "90"
    held.advance(seconds=90)
    assert ask(front, found[1]).status == 401


NOT_OF_THE_PAGE = {
    "without the page's header": {"X-Gatehouse-Page": None},
    "with another value of it": {"X-Gatehouse-Page": "true"},
    "from another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "from another host of the same site": {"Sec-Fetch-Site": "same-site"},
    "a form of another site": {
        "X-Gatehouse-Page": None,
        "Sec-Fetch-Site": "cross-site",
        "Content-Type": "application/x-www-form-urlencoded",
    },
    "a made-up token": {"Cookie": "gatehouse-api1234567=" + "A" * 43},
    "a token of another shape": {"Cookie": "gatehouse-api1234567=x"},
    "no token": {"Cookie": "gatehouse-api1234567="},
    "the cookie of another stack on this machine": {
        "Cookie": lambda cookie: cookie.replace("api1234567", "api7654321")
    },
    "two cookies of this name": {"Cookie": lambda cookie: f"{cookie}; {cookie}"},
    "a wrong key beside it": {"Authorization": "Bearer x"},
    "an empty key beside it": {"X-Api-Key": ""},
}


@pytest.mark.parametrize("how", NOT_OF_THE_PAGE)
def test_a_cookie_is_refused_where_the_page_did_not_send_it(
    front: Front, admin: Holder, how: str
) -> None:
    cookie = sign_in(front, admin.key)
    own = {**PAGE, "Cookie": f"theme=dark; {cookie}; x=y", "Sec-Fetch-Site": "same-origin"}
    assert front("GET", "/v1/whoami", headers=own).status == 200
    sent = dict(own)
    for name, value in NOT_OF_THE_PAGE[how].items():
        sent[name] = value(cookie) if callable(value) else value
    headers = {name: value for name, value in sent.items() if value is not None}
    assert front("GET", "/v1/whoami", headers=headers).status == 401
    ticket = front("POST", "/auth/socket-ticket", headers=headers)
    assert ticket.status == 401


def test_a_key_that_is_sent_counts_before_the_cookie(
    front: Front, people: People, admin: Holder
) -> None:
    cookie = sign_in(front, admin.key)
    other = people.key(admin)
    answer = front("GET", "/v1/whoami", key=other.key, headers={**PAGE, "Cookie": cookie})
    assert answer.json()["data"]["key"]["id"] == other.key_id


def test_a_session_ends_with_its_key_on_the_next_request(
    front: Front, people: People, admin: Holder
) -> None:
    revoked, disabled = people.key(admin), people.key(admin)
    member = people.employee(admin)
    cookies = [sign_in(front, one.key) for one in (revoked, disabled, member)]
    assert [ask(front, cookie).status for cookie in cookies] == [200, 200, 200]
    front("DELETE", f"/v1/api-keys/{revoked.key_id}", key=admin.key)
    front("PATCH", f"/v1/api-keys/{disabled.key_id}", key=admin.key, body={"enabled": False})
    front(
        "PATCH",
        f"/admin/identities/{member.identity_id}",
        key=admin.key,
        body={"status": "suspended"},
    )
    assert [ask(front, cookie).status for cookie in cookies] == [401, 401, 401]
    front("PATCH", f"/v1/api-keys/{disabled.key_id}", key=admin.key, body={"enabled": True})
    assert ask(front, cookies[1]).status == 200


def test_a_session_spends_the_requests_of_its_key(
    front: Front, people: People, admin: Holder
) -> None:
    limited = people.key(admin, rate_limit=4)
    cookie = sign_in(front, limited.key)
    statuses = [ask(front, cookie).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert front("GET", "/v1/whoami", key=limited.key).status == 429


def test_a_session_opens_no_session(front: Front, admin: Holder) -> None:
    cookie = sign_in(front, admin.key)
    answer = ask(front, cookie, "/auth/session", "POST")
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_the_twenty_first_session_of_a_key_ends_the_oldest(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    other = sign_in(front, admin.key)
    key = people.key(admin)
    cookies = []
    for _ in range(20):
        cookies.append(sign_in(front, key.key))
        held.advance(seconds=1)
    assert {ask(front, cookie).status for cookie in cookies} == {200}
    cookies.append(sign_in(front, key.key))
    statuses = [ask(front, cookie).status for cookie in cookies]
    assert statuses == [401, *[200] * 20]
    assert ask(front, other).status == 200
    assert len(list_sessions(front, cookies[-1])) == 20


def test_expired_sessions_make_room_first(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.key(admin)
    first = sign_in(front, key.key)
    held.advance(seconds=12 * 3600)
    later = [sign_in(front, key.key) for _ in range(20)]
    assert ask(front, first).status == 401
    assert {ask(front, cookie).status for cookie in later} == {200}


def list_sessions(front: Front, cookie: str) -> list[dict[str, object]]:
    answer = ask(front, cookie, "/auth/sessions")
    assert answer.status == 200
    listed: list[dict[str, object]] = answer.json()["data"]
    return listed


def test_sessions_are_listed_and_end_one_by_one(
    front: Front, people: People, admin: Holder, held: HeldClock
) -> None:
    key = people.key(admin)
    first = sign_in(front, key.key)
    held.advance(seconds=1)
    second = sign_in(front, key.key)
    newest, oldest = list_sessions(front, second)
    assert newest == {
        "id": newest["id"],
        "key_id": f"api_key:{key.key_id}",
        "created_at": held.text(),
        "expires_at": held.text(seconds=12 * 3600),
        "source_address": "203.0.113.7",
        "current": True,
    }
    assert oldest["current"] is False
    path = f"/auth/sessions/{oldest['id']}"
    foreign = front("DELETE", path, key=people.key(admin).key)
    assert (foreign.status, foreign.json()["code"]) == (404, "SESSION_NOT_FOUND")
    assert ask(front, second, path, "DELETE").status == 204
    assert ask(front, second, path, "DELETE").status == 404
    assert ask(front, second, "/auth/sessions/x", "DELETE").status == 400
    assert [ask(front, cookie).status for cookie in (first, second)] == [401, 200]
    assert [one["id"] for one in list_sessions(front, second)] == [newest["id"]]


def test_signing_out_ends_this_session_and_clears_the_cookie(
    front: Front, people: People, admin: Holder
) -> None:
    key = people.key(admin)
    here, there = sign_in(front, key.key), sign_in(front, key.key)
    answer = ask(front, here, "/auth/session", "DELETE")
    assert answer.status == 204
    assert answer.headers["set-cookie"].startswith("gatehouse-api1234567=; Max-Age=0;")
    assert [ask(front, cookie).status for cookie in (here, there)] == [401, 200]
    assert front("DELETE", "/auth/session", key=key.key).status == 204
    assert ask(front, there).status == 200


def test_sign_ins_are_in_the_trail_without_a_secret(
    front: Front, people: People, admin: Holder
) -> None:
    key = people.key(admin)
    cookie = sign_in(front, key.key)
    ask(front, cookie, "/auth/session", "DELETE")
    answer = front("GET", "/admin/audit", key=admin.key, query={"chain": "machine"})
    events = answer.json()["data"]["events"][:2]
    assert [event["action"] for event in events] == ["session.end", "session.create"]
    assert {event["via"] for event in events} == {f"api_key:{key.key_id}"}
    assert events[0]["target"] == events[1]["target"]
    assert cookie.partition("=")[2] not in answer.text


def test_a_repeat_with_the_same_idempotency_key_shows_no_cookie(
    front: Front, admin: Holder
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = front("POST", "/auth/session", key=admin.key, headers=headers)
    again = front("POST", "/auth/session", key=admin.key, headers=headers)
    assert (first.status, again.status) == (204, 409)
    assert "set-cookie" not in again.headers
    made = again.json()["error"]["details"]["id"]
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert made in {one["id"] for one in list_sessions(front, cookie)}


def test_a_request_with_a_session_costs_two_table_calls(
    front: Front, admin: Holder, line: Wire
) -> None:
    cookie = sign_in(front, admin.key)
    counts = []
    for _ in range(3):
        line.clear()
        assert front.admits_headers({**PAGE, "Cookie": cookie})
        counts.append(line.calls)
    assert counts == [["GetItem", "UpdateItem"]] * 3


def test_nothing_stored_shows_a_token(front: Front, admin: Holder, stack: Tables) -> None:
    cookie = sign_in(front, admin.key)
    ticket = front("POST", "/auth/socket-ticket", key=admin.key).json()["data"]["ticket"]
    stored = repr([*items(stack.keys), *items(stack.main)])
    for secret in (cookie.partition("=")[2], ticket):
        assert secret not in stored
