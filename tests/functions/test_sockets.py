"""The function `sockets`: who may open a socket, with events in API Gateway's format."""

from __future__ import annotations

import copy
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from gatehouse.logs import store
from support.actors.people import Holder, People
from support.aws import invocation
from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, first
from support.checks.inspection import State, items
from support.worlds.held_clock import HeldClock
from support.worlds.workloads import Workloads

pytestmark = pytest.mark.usefixtures("settings_key", "workloads", "held", "relay_queue")

WRONG = "hk_" + "0" * 72


@pytest.fixture(scope="module", autouse=True)
def orders(workloads: Workloads) -> Iterator[None]:
    workloads.function("orders")
    workloads.function("silent", tags={"gatehouse:logs": "off"})
    yield
    workloads.clear()


class Sockets:
    """Opens and closes sockets as API Gateway does: the authorizer first, then the function."""

    def __init__(self, front: Front) -> None:
        self.front = front

    def event(
        self,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        *,
        kind: str = "CONNECT",
        connection: str | None = None,
    ) -> dict[str, Any]:
        """Make the event that API Gateway sends for a socket."""
        event = copy.deepcopy(invocation.event("sockets"))
        event["headers"] = {"Host": event["headers"]["Host"], **(headers or {})}
        event["multiValueHeaders"] = {name: [value] for name, value in event["headers"].items()}
        event["queryStringParameters"] = dict(query) if query else None
        event["multiValueQueryStringParameters"] = {
            name: [value] for name, value in (query or {}).items()
        }
        asked = event["requestContext"]
        asked["eventType"], asked["requestId"] = kind, str(uuid.uuid4())
        asked["connectionId"] = connection or uuid.uuid4().hex[:15] + "="
        asked["routeKey"] = f"${kind.lower()}"
        asked.pop("authorizer", None)
        if kind != "CONNECT":  # events of an open socket have fewer fields
            for name in ("headers", "multiValueHeaders", "queryStringParameters"):
                event.pop(name)
            event.pop("multiValueQueryStringParameters", None)
        return event

    def authorize(self, event: dict[str, Any]) -> dict[str, str] | None:
        """Call the authorizer; return its context, or None if it denies."""
        return self.front.authorize_socket(event)

    def open(
        self,
        key: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        connection: str | None = None,
        **query: str,
    ) -> tuple[int, str | None]:
        """Open a socket; return the status (401 if the authorizer denies) and the error."""
        given = {"Authorization": f"Bearer {key}"} if key else {}
        event = self.event(query, {**given, **(headers or {})}, connection=connection)
        context = self.authorize(event)
        if context is None:
            return 401, None
        event["requestContext"]["authorizer"] = {**context, "principalId": context["key_id"]}
        return self._said(event)

    def close(self, connection: str) -> int:
        """Send the event of a closed socket; return the status."""
        return self._said(self.event(None, None, kind="DISCONNECT", connection=connection))[0]

    def say(self, body: str) -> dict[str, Any]:
        """Send a message from the client of a socket."""
        event = {**self.event(None, None, kind="MESSAGE"), "body": body}
        answer: dict[str, Any] = self.front.function("sockets").handler(event, invocation.Context())
        return answer

    def _said(self, event: dict[str, Any]) -> tuple[int, str | None]:
        answer = self.front.function("sockets").handler(event, invocation.Context())
        if "body" not in answer:
            return answer["statusCode"], None
        said = json.loads(answer["body"])
        assert set(said) - {"needed"} == {"error", "status", "code", "message", "detail"}
        assert said["status"] == answer["statusCode"]
        return answer["statusCode"], said["error"]


@pytest.fixture
def sockets(front: Front, stack: Tables) -> Iterator[Sockets]:
    yield Sockets(front)
    for item in _of_logs(stack):
        key = {name: {"S": item[name]} for name in ("pk", "sk")}
        stack.main.client.delete_item(TableName=stack.main.name, Key=key)


def _of_logs(stack: Tables) -> list[dict[str, Any]]:
    kinds = ("WATCHED", "VIEWERS#", "VIEWING#", "CONN#", "HELD#")
    return [item for item in State(stack).main if item["pk"].startswith(kinds)]


# ---- Who may open a socket -----------------------------------------------------------------------


def test_opening_a_socket_stores_the_viewer_and_queues_its_backlog(
    sockets: Sockets, operator: Holder, stack: Tables, held: HeldClock, relay_queue: str
) -> None:
    boto3.client("sqs").purge_queue(QueueUrl=relay_queue)
    asked = {"service": "orders", "lines": "7", "since": "2026-01-01T00:00:00Z"}
    assert sockets.open(operator.key, connection="L0SM9cOFvHcCIhw=", **asked) == (200, None)
    [viewer] = store.list_viewers(stack.main, "/aws/lambda/fn-orders")
    assert (viewer.id, viewer.service, viewer.account_id, viewer.key_id) == (
        "L0SM9cOFvHcCIhw=",
        "orders",
        operator.account_id,
        operator.key_id,
    )
    assert (viewer.backlog.lines, viewer.backlog.since) == (7, 1_767_225_600_000)
    assert (viewer.opened_at, viewer.live, viewer.held) == (held.at, False, 0)
    [message] = boto3.client("sqs").receive_message(QueueUrl=relay_queue)["Messages"]
    assert json.loads(message["Body"]) == {
        "do": "open",
        "group": "/aws/lambda/fn-orders",
        "connection": "L0SM9cOFvHcCIhw=",
    }


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ({}, 400, "service is required"),
        ({"service": ""}, 400, "service is required"),
        ({"service": "Not-A-Name"}, 400, "Invalid service name"),
        ({"service": "nobody"}, 404, 'Service "nobody" not found'),
        ({"service": "silent"}, 404, 'Service "silent" has no logs to watch'),
        ({"service": "orders", "lines": "1001"}, 400, "lines must be 0 to 1000"),
        ({"service": "orders", "lines": "many"}, 400, "lines must be 0 to 1000"),
        (
            {"service": "orders", "since": "yesterday"},
            400,
            "since must be the id of a line or an RFC 3339 timestamp",
        ),
    ],
)
def test_a_refused_socket_stores_nothing(
    sockets: Sockets,
    operator: Holder,
    stack: Tables,
    query: dict[str, str],
    status: int,
    told: str,
) -> None:
    assert sockets.open(operator.key, **query) == (status, told)
    assert _of_logs(stack) == []


def test_another_account_gets_404_for_an_operator_service(
    sockets: Sockets, operator: Holder, people: People, stack: Tables
) -> None:
    del operator
    stranger = people.tenant()
    refused = sockets.open(stranger.key, service="orders")
    assert refused == (404, 'Service "orders" not found')
    assert _of_logs(stack) == []


def test_members_and_keys_without_the_scope_are_refused(
    sockets: Sockets, operator: Holder, people: People
) -> None:
    member = people.employee(operator)
    status, told = sockets.open(member.key, service="orders")
    assert status == 403
    assert told is not None
    assert told.startswith("Denied by ")
    narrow = people.key(operator, scopes=["agents:read"])
    assert sockets.open(narrow.key, service="orders") == (403, "Insufficient API key scope")
    writer = people.key(operator, scopes=["services:write"])
    assert sockets.open(writer.key, service="orders")[0] == 403, "write does not imply read"


def test_a_key_over_its_rate_limit_is_429(
    sockets: Sockets, operator: Holder, people: People
) -> None:
    limited = people.key(operator, rate_limit=1)
    assert sockets.open(limited.key, service="orders")[0] == 200
    assert sockets.open(limited.key, service="orders") == (429, "Rate limit exceeded")


def test_an_event_without_the_authorizer_s_context_is_401(front: Front, sockets: Sockets) -> None:
    for authorizer in (None, {}, {"principalId": "nobody"}):
        event = sockets.event({"service": "orders"}, None)
        event["requestContext"]["authorizer"] = authorizer
        answer = front.function("sockets").handler(event, invocation.Context())
        assert answer["statusCode"] == 401


def test_too_many_viewers_are_409(sockets: Sockets, operator: Holder, stack: Tables) -> None:
    assert sockets.open(operator.key, service="orders")[0] == 200
    for key, count, told in (
        (("WATCHED", "/aws/lambda/fn-orders"), 100, "A log group has at most 100 viewers"),
        ((f"VIEWING#{operator.account_id}", "COUNT"), 200, "An account has at most 200 viewers"),
    ):
        for viewers, status in ((count, 409), (count - 1, 200)):
            _set_viewers(stack, key, viewers)
            found, said = sockets.open(operator.key, service="orders")
            assert found == status
            assert status == 200 or told in (said or "")
        _set_viewers(stack, key, 1)


def _set_viewers(stack: Tables, key: tuple[str, str], viewers: int) -> None:
    stack.main.update(
        dict(zip(("pk", "sk"), key, strict=True)),
        "SET viewers = :viewers",
        condition="attribute_exists(pk)",
        names={},
        values={":viewers": viewers},
    )


def test_a_throttled_table_is_503_and_stores_nothing(
    sockets: Sockets, operator: Holder, line: Wire, stack: Tables
) -> None:
    line.clear()
    line.before = first(9, lambda: error("ThrottlingException"), "TransactWriteItems")
    assert sockets.open(operator.key, service="orders")[0] == 503
    line.clear()
    assert _of_logs(stack) == []


def test_a_failing_queue_is_503_and_the_viewer_is_not_counted(
    sockets: Sockets, operator: Holder, stack: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = sockets.front.function("sockets")._queue()  # noqa: SLF001
    with monkeypatch.context() as patch:
        patch.setattr(
            sockets.front.function("sockets"), "_queue", lambda: type(queue)("x", clients.sqs())
        )
        assert sockets.open(operator.key, service="orders")[0] == 503
    assert [item for item in _of_logs(stack) if item.get("viewers") != 0] == []


# ---- Closed sockets, and messages from clients ---------------------------------------------------


def test_a_viewer_is_removed_once_and_an_unknown_socket_is_ignored(
    sockets: Sockets, operator: Holder, stack: Tables, held: HeldClock
) -> None:
    for name in ("one", "two"):
        assert sockets.open(operator.key, service="orders", connection=name)[0] == 200
    held.advance(seconds=60)
    for name in ("one", "one", "stranger"):
        assert sockets.close(name) == 200
    [watch] = [item for item in _of_logs(stack) if item["pk"] == "WATCHED"]
    assert (watch["viewers"], watch["left_at"]) == (1, held.at)
    assert [viewer.id for viewer in store.list_viewers(stack.main, watch["sk"])] == ["two"]


@pytest.mark.parametrize("body", ["", "hello", '{"action": "$connect"}', "\x00"])
def test_messages_from_a_viewer_are_accepted_and_ignored(sockets: Sockets, body: str) -> None:
    assert sockets.say(body) == {"statusCode": 200}


# ---- Credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["token", "access_token", "api_key"])
def test_only_a_socket_accepts_a_key_in_the_query(
    sockets: Sockets, operator: Holder, front: Front, name: str
) -> None:
    assert sockets.open(None, service="orders", **{name: operator.key})[0] == 200
    assert front("GET", "/v1/whoami", query={name: operator.key}).status == 401
    message = sockets.event({name: operator.key}, None)
    message["requestContext"]["eventType"] = "MESSAGE"
    assert sockets.authorize(message) is None


PLACES = [
    ("header", "Authorization"),
    ("header", "X-Hammurabi-Api-Key"),
    ("header", "X-Api-Key"),
    ("query", "token"),
    ("query", "access_token"),
    ("query", "api_key"),
]


@pytest.mark.parametrize("earlier", range(5))
def test_the_first_credential_decides_even_if_it_is_wrong(
    sockets: Sockets, operator: Holder, earlier: int
) -> None:
    for later in range(earlier + 1, len(PLACES)):
        for good, status in ((earlier, 200), (later, 401)):
            headers, query = {}, {}
            for place in (earlier, later):
                key = operator.key if place == good else WRONG
                kind, name = PLACES[place]
                value = f"Bearer {key}" if name == "Authorization" else key
                (headers if kind == "header" else query)[name] = value
            assert sockets.open(None, headers=headers, service="orders", **query)[0] == status


def test_a_viewer_is_stored_with_the_key_that_was_checked(
    sockets: Sockets, operator: Holder, people: People, stack: Tables
) -> None:
    other = people.key(operator)
    headers = {"X-Api-Key": other.key}
    assert sockets.open(None, headers=headers, service="orders", token=operator.key)[0] == 200
    [viewer] = store.list_viewers(stack.main, "/aws/lambda/fn-orders")
    assert viewer.key_id == other.key_id
    known = {item["pk"] for item in items(stack.keys) if item["id"] == other.key_id}
    assert f"KEY#{viewer.digest}" in known


def test_a_key_in_the_query_is_neither_logged_nor_stored(
    sockets: Sockets, operator: Holder, stack: Tables, logs: io.StringIO, monkeypatch: Any
) -> None:
    marked = {"service": "orders", "since": "planted-mark"}
    assert sockets.open(None, token=operator.key, service="orders")[0] == 200
    assert sockets.open(None, token=operator.key, **marked)[0] == 400
    assert sockets.open(None, token=WRONG, service="orders")[0] == 401

    def bug(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(store, "add_viewer", bug)
    assert sockets.open(None, token=operator.key, service="orders")[0] == 500
    written = logs.getvalue()
    assert '"socket"' in written
    assert "a bug" in written
    for text in (written, json.dumps(State(stack).main, default=repr)):
        assert operator.key not in text
        assert operator.key[4:60] not in text
        assert WRONG not in text
    assert "planted-mark" not in written


def test_a_ticket_opens_one_socket_within_thirty_seconds(
    sockets: Sockets, operator: Holder, held: HeldClock
) -> None:
    used, late, last = (ticket(sockets.front, operator.key) for _ in range(3))
    assert sockets.open(None, service="orders", ticket=used) == (200, None)
    assert sockets.open(None, service="orders", ticket=used) == (401, None)
    held.advance(seconds=30, micros=-1)
    assert sockets.open(None, service="orders", ticket=last) == (200, None)
    held.advance(micros=1)
    assert sockets.open(None, service="orders", ticket=late) == (401, None)


def test_a_ticket_is_used_up_by_a_refused_socket(sockets: Sockets, operator: Holder) -> None:
    used = ticket(sockets.front, operator.key)
    assert sockets.open(None, service="nothing-here", ticket=used)[0] == 404
    assert sockets.open(None, service="orders", ticket=used) == (401, None)


def test_a_ticket_opens_nothing_after_its_key_ended(
    sockets: Sockets, people: People, operator: Holder
) -> None:
    key = people.key(operator)
    made = ticket(sockets.front, key.key)
    sockets.front("DELETE", f"/v1/api-keys/{key.key_id}", key=operator.key)
    assert sockets.open(None, service="orders", ticket=made) == (401, None)


def test_a_key_counts_before_a_ticket_and_a_cookie_opens_no_socket(
    sockets: Sockets, operator: Holder
) -> None:
    made = ticket(sockets.front, operator.key)
    assert sockets.open(None, service="orders", token=WRONG, ticket=made) == (401, None)
    assert sockets.open(None, service="orders", ticket=made) == (200, None)
    opened = sockets.front("POST", "/auth/session", key=operator.key)
    cookie = {"Cookie": opened.headers["set-cookie"], "X-Gatehouse-Page": "1"}
    assert sockets.open(None, headers=cookie, service="orders") == (401, None)


def test_a_made_up_ticket_opens_nothing(sockets: Sockets) -> None:
    for made_up in ("", "x", "A" * 43):
        assert sockets.open(None, service="orders", ticket=made_up) == (401, None)


def ticket(front: Front, key: str) -> str:
    """Return a ticket from the key."""
    made: str = front("POST", "/auth/socket-ticket", key=key).json()["data"]["ticket"]
    return made
