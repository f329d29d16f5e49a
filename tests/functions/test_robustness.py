"""A handler answers every event in its surface's format, without internal details."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from support.actors.people import Holder, People
from support.aws.api_gateway import Front, answer_of, error_text, extended_id, routes
from support.aws.faults import Wire, error, first, no_answer
from support.aws.invocation import Answer, Context

GROUPS = {
    "keys_services": "/api/auth/keys",
    "keys_account": "/v1/api-keys",
    "verification": "/v1/keys/verify",
    "keys_admin": "/admin/api-keys",
    "signals": "/signals/list",
    "public": "/health",
}


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


def _event(front: Front, holder: Holder, method: str, path: str, **changes: Any) -> dict:
    """Return an event with a real principal, for a route that need not be in the template."""
    route = next(route for route in routes() if route.path == "/v1/whoami")
    headers = {"Authorization": f"Bearer {holder.key}", "Content-Type": "application/json"}
    event = front.event(route, path, {}, headers, None, None, "203.0.113.7", "request-1")
    event |= {"httpMethod": method, "resource": path}
    context = front.authorize(event)
    assert isinstance(context, dict)
    event["requestContext"]["authorizer"] = context
    return event | changes


def _handle(front: Front, group: str, event: dict) -> Answer:
    raw = front.function(group).handler(event, Context())
    return answer_of(raw, event, method=event["httpMethod"], documented=False)


@pytest.mark.parametrize("group", GROUPS)
def test_a_route_that_the_function_does_not_have_is_a_404(
    front: Front, admin: Holder, group: str
) -> None:
    for path in (f"{GROUPS[group]}/nothing/here", f"{GROUPS[group]}/"):
        answer = _handle(front, group, _event(front, admin, "GET", path))
        assert answer.status == 404
        assert error_text(answer) == "Not Found"


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_the_route_does_not_have_is_a_405(
    front: Front, admin: Holder, group: str, method: str
) -> None:
    answer = _handle(front, group, _event(front, admin, method, GROUPS[group]))
    assert answer.status == 405
    assert error_text(answer) == "Method Not Allowed"


@pytest.mark.parametrize("group", GROUPS)
def test_an_unknown_path_never_reaches_a_function(front: Front, admin: Holder, group: str) -> None:
    answer = front("GET", f"{GROUPS[group]}/nothing/here", key=admin.key)
    assert answer.status == 404
    assert answer.json() == {
        "error": "Not Found",
        "status": 404,
        "request_id": answer.request_id,
        "code": "NOT_FOUND",
        "message": "Not Found",
        "detail": "No route has this path and method.",
    }


@pytest.mark.parametrize(
    "host",
    ["[::1]:8080", "localhost:8080", "localhost:99999999", "", ":", "a:b:c", None, "\u2603"],
)
def test_any_host_header_is_accepted(front: Front, admin: Holder, host: str | None) -> None:
    headers = {"Host": host, "X-Forwarded-Port": "x", "X-Forwarded-Proto": "ftp"}
    for path in ("/api/auth/keys", "/v1/whoami", "/admin/policy"):
        assert front("GET", path, key=admin.key, headers=headers).status == 200
    assert front("GET", "/health", headers=headers).status == 200


def test_missing_headers_are_accepted(front: Front, admin: Holder) -> None:
    for changes in (
        {"headers": None, "multiValueHeaders": None},
        {"headers": {}, "multiValueHeaders": {}},
        {"headers": {"X-Empty": None}, "multiValueHeaders": {"X-Empty": None}},
        {"headers": {"X-Empty": None}, "multiValueHeaders": None},
        {"multiValueHeaders": {"X-Empty": []}},
        {"headers": {"X-Odd": "\u2603 \n"}, "multiValueHeaders": {"X-Odd": ["\u2603 \n"]}},
    ):
        for shape in ({}, {"version": "1.0"}):
            event = _event(front, admin, "GET", "/v1/whoami", **changes, **shape)
            assert _handle(front, "keys_account", event).status == 200


def test_missing_query_and_path_parameters_are_accepted(front: Front, admin: Holder) -> None:
    event = _event(front, admin, "GET", "/v1/api-keys")
    for name in ("queryStringParameters", "multiValueQueryStringParameters", "pathParameters"):
        del event[name]
    assert _handle(front, "keys_account", event).status == 200


@pytest.mark.parametrize("body", ["%%%", "abc", "é", "\x00"])
def test_a_body_that_is_not_base64_is_a_400(front: Front, admin: Holder, body: str) -> None:
    for group, path in list(GROUPS.items())[:5]:
        event = _event(front, admin, "POST", path, body=body, isBase64Encoded=True)
        answer = _handle(front, group, event)
        assert answer.status == 400, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/api-keys/a%2Fb",
        "/v1/api-keys/%2F",
        "/v1/api-keys/..%2F..%2Fetc",
        "/v1/api-keys/%2e%2e%2Frotate",
        "/v1/api-keys/%00",
        "/v1/api-keys/%ff%fe",
        "/v1/api-keys/%",
        "/v1/api-keys/a b",
        "/v1/api-keys/\u2603",
    ],
)
def test_a_malformed_id_gets_the_surface_s_error(front: Front, admin: Holder, path: str) -> None:
    for method in ("DELETE", "PATCH"):
        answer = front(method, path, key=admin.key, body={} if method == "PATCH" else None)
        assert answer.status in {400, 404, 405}
        assert error_text(answer) in {"invalid id", "Not Found", "Method Not Allowed"}


@pytest.mark.parametrize("group", list(GROUPS)[:5])
def test_without_a_principal_every_protected_route_is_401(
    front: Front, admin: Holder, group: str
) -> None:
    """API Gateway never sends this; a function that is invoked directly must refuse it too."""
    method = "POST" if group == "verification" else "GET"
    for authorizer in (None, {}, {"principalId": "nobody"}):
        event = _event(front, admin, method, GROUPS[group])
        event["requestContext"]["authorizer"] = authorizer
        answer = _handle(front, group, event)
        assert answer.status == 401
    event = _event(front, admin, method, GROUPS[group])
    del event["requestContext"]["authorizer"]
    assert _handle(front, group, event).status == 401


@pytest.mark.parametrize("field", ["grants", "is_admin", "account_id", "operator"])
def test_a_principal_with_a_missing_field_is_a_500(front: Front, admin: Holder, field: str) -> None:
    event = _event(front, admin, "GET", "/v1/whoami")
    for name in (field, "limit_state"):
        del event["requestContext"]["authorizer"][name]
    assert _handle(front, "keys_account", event).status == 500


class Boom(Exception):
    """Text that no response may contain."""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/auth/keys"),
        ("GET", "/v1/api-keys"),
        ("POST", "/v1/keys/verify"),
        ("GET", "/admin/audit"),
    ],
)
def test_a_bug_is_a_500_without_details(
    front: Front,
    admin: Holder,
    line: Wire,
    method: str,
    path: str,
    logs: io.StringIO,
) -> None:
    def boom(_: int, operation: str) -> None:
        if operation in {"Query", "GetItem"}:
            raise Boom("private-detail-4711")

    line.before = boom
    body = {"key": admin.key} if method == "POST" else None
    answer = front(method, path, key=admin.key, body=body)
    assert answer.status == 500
    assert error_text(answer) == "Internal Server Error"
    assert "4711" not in answer.text
    assert "4711" not in json.dumps(answer.headers)
    logged = [json.loads(text) for text in logs.getvalue().splitlines()]
    assert any("4711" in json.dumps(entry) for entry in logged), "the log has it"
    assert [entry["status"] for entry in logged if entry["message"] == "request"] == [500]


@pytest.mark.parametrize(
    "fault",
    [
        no_answer,
        lambda: error("ProvisionedThroughputExceededException"),
        lambda: error("ThrottlingException"),
        lambda: error("InternalServerError", 500),
        lambda: error("TransactionInProgressException"),
    ],
)
def test_an_unreachable_table_is_a_503_of_the_surface(
    front: Front, admin: Holder, line: Wire, fault: Any
) -> None:
    for method, path, operation, body in (
        ("GET", "/api/auth/keys", "Query", None),
        ("GET", "/v1/api-keys", "Query", None),
        ("GET", "/v1/api-keys", "BatchGetItem", None),
        ("GET", "/v1/whoami", "GetItem", None),
        ("POST", "/v1/keys/verify", "GetItem", {"key": admin.key}),
        ("GET", "/admin/audit", "Query", None),
        ("POST", "/v1/api-keys", "TransactWriteItems", {"name": "x"}),
        ("DELETE", f"/api/auth/keys/{admin.key_id}", "TransactWriteItems", None),
    ):
        line.before = first(1, fault, operation)
        answer = front(method, path, key=admin.key, body=body)
        assert answer.status == 503, (path, operation, answer.text)
        assert error_text(answer) == "Service Unavailable"
        assert answer.headers["retry-after"] == "1"
    assert front("GET", "/v1/whoami", key=admin.key).status == 200


def test_a_table_without_permission_is_a_500(front: Front, admin: Holder, line: Wire) -> None:
    line.before = first(1, lambda: error("AccessDeniedException"), "Query")
    assert front("GET", "/v1/api-keys", key=admin.key).status == 500


def test_a_request_writes_one_log_line(front: Front, admin: Holder, logs: io.StringIO) -> None:
    answer = front("GET", "/v1/api-keys", key=admin.key, query={"limit": "7"})
    lines = [json.loads(text) for text in logs.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["authorized", "request"]
    assert {line["request_id"] for line in lines} == {answer.request_id}
    line = lines[1]
    assert line["extended_id"] == extended_id(answer.request_id)
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/api-keys", 200)
    assert (line["key_id"], line["account_id"]) == (admin.key_id, admin.account_id)
    assert admin.key not in json.dumps(lines)
