"""What every error body has, on each surface, and what is logged of an error of ours."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from gatehouse.core.errors import CODES
from support.actors.people import Holder, People
from support.aws.api_gateway import DOMAIN, Front
from support.aws.faults import Wire, conflict_in_transaction, error, first, no_answer


@pytest.fixture(scope="module")
def admin(people: People) -> Holder:
    return people.tenant()


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/api/auth/keys", "services:read"),
        ("/api/services/list", "services:read"),
        ("/v1/api-keys", "services:read"),
        ("/admin/audit", "admin:manage"),
        ("/signals/list", "agents:read"),
    ],
)
def test_a_missing_scope_is_named_on_every_surface(
    front: Front, people: People, admin: Holder, path: str, needed: str
) -> None:
    key = people.key(admin, scopes=[])
    refused = front("GET", path, key=key.key)
    body = refused.json()
    assert (refused.status, body["needed"], body["detail"]) == (403, needed, CODES[body["code"]])
    allowed = people.key(admin, scopes=[needed])
    assert front("GET", path, key=allowed.key).status != 403


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("/api/auth/keys/x", "VALIDATION_INVALID_VALUE", "Invalid key id"),
        ("/v1/api-keys/x", "VALIDATION_INVALID_VALUE", "invalid id"),
        ("/admin/webhooks/x", "VALIDATION_INVALID_ID", "Invalid webhook id"),
    ],
)
def test_every_error_has_code_message_and_detail_beside_what_the_surface_documents(
    front: Front, admin: Holder, path: str, code: str, message: str
) -> None:
    body = front("DELETE", path, key=admin.key).json()
    assert {name: body[name] for name in ("code", "message", "detail")} == {
        "code": code,
        "message": message,
        "detail": CODES[code],
    }
    assert "needed" not in body


def _docs_url(front: Front, admin: Holder, **request: Any) -> str:
    route, path = "/admin/webhooks/{id}", "/admin/webhooks/x"
    event = json.loads(json.dumps(_sent(front, admin, route, path)))
    event["requestContext"] |= request
    raw = front.function("webhooks").handler(event, None)
    url: str = json.loads(raw["body"])["error"]["docs_url"]
    return url


def _sent(front: Front, admin: Holder, route: str, path: str) -> dict[str, Any]:
    from support.aws.api_gateway import routes  # noqa: PLC0415 - beside its use

    found = next(one for one in routes() if (one.method, one.path) == ("GET", route))
    headers = {"Authorization": f"Bearer {admin.key}"}
    event = front.event(found, path, {"id": "x"}, headers, None, None, "203.0.113.7", "request-1")
    event["requestContext"]["authorizer"] = front.authorize(event)
    return event


@pytest.mark.parametrize(
    ("request_", "base"),
    [
        ({"domainName": DOMAIN, "path": "/live/admin/webhooks/x"}, f"https://{DOMAIN}/live"),
        (
            {"domainName": "api.acme.example", "path": "/admin/webhooks/x"},
            "https://api.acme.example",
        ),
        (
            {"domainName": "acme.example", "path": "/keys/admin/webhooks/x"},
            "https://acme.example/keys",
        ),
    ],
)
def test_docs_url_is_absolute_with_the_stage_or_the_domain(
    front: Front, admin: Holder, request_: dict[str, str], base: str
) -> None:
    assert _docs_url(front, admin, **request_) == f"{base}/docs#VALIDATION_INVALID_ID"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (lambda: error("ThrottlingException"), "Query ThrottlingException"),
        (lambda: error("InternalServerError", 500), "Query InternalServerError"),
        (no_answer, "CallUnanswered"),
    ],
)
@pytest.mark.parametrize("path", ["/api/auth/keys", "/v1/api-keys", "/admin/audit"])
def test_a_5xx_has_a_line_at_error_that_names_the_call_and_its_code(
    front: Front, admin: Holder, line: Wire, logs: io.StringIO, fault: Any, cause: str, path: str
) -> None:
    line.before = first(1, fault, "Query")
    answer = front("GET", path, key=admin.key)
    assert answer.status == 503
    written = [json.loads(text) for text in logs.getvalue().splitlines()]
    [failed] = [one for one in written if one["level"] == "ERROR"]
    assert (failed["request_id"], failed["code"]) == (answer.request_id, "SERVICE_UNAVAILABLE")
    assert any(cause in one for one in failed["causes"]), failed["causes"]
    assert admin.key not in json.dumps(written)


@pytest.mark.usefixtures("sleeps")
@pytest.mark.parametrize(
    ("fault", "causes"),
    [
        (lambda: conflict_in_transaction(5), ["TransactionCanceled at", "TransactWriteItems"]),
        (lambda: _failed_conditions(2), ["Refused credential key at", "TransactWriteItems"]),
    ],
)
def test_a_503_after_the_last_try_names_what_every_try_met(
    front: Front,
    admin: Holder,
    line: Wire,
    logs: io.StringIO,
    fault: Any,
    causes: list[str],
) -> None:
    line.before = first(1_000, fault, "TransactWriteItems")
    body = {"name": "busy"}
    answer = front("PATCH", f"/v1/api-keys/{admin.key_id}", key=admin.key, body=body)
    assert answer.status == 503
    written = [json.loads(text) for text in logs.getvalue().splitlines()]
    [failed] = [one for one in written if one["level"] == "ERROR"]
    assert all(any(cause in one for one in failed["causes"]) for cause in causes), failed["causes"]


def test_a_4xx_has_no_line_at_error(front: Front, admin: Holder, logs: io.StringIO) -> None:
    front("DELETE", "/v1/api-keys/x", key=admin.key)
    assert "ERROR" not in logs.getvalue()


def test_an_authorizer_without_its_table_logs_why(
    front: Front, admin: Holder, line: Wire, logs: io.StringIO
) -> None:
    front.renew("authorizer")
    line.before = first(5, lambda: error("ThrottlingException"), "UpdateItem")
    answer = front("GET", "/v1/whoami", key=admin.key)
    assert answer.status == 503
    written = [json.loads(text) for text in logs.getvalue().splitlines()]
    [failed] = [one for one in written if one["level"] == "ERROR"]
    assert any("UpdateItem ThrottlingException" in one for one in failed["causes"])


def _failed_conditions(number: int) -> Any:
    reasons = [{"Code": "ConditionalCheckFailed", "Message": "The condition failed"}] * number
    return error("TransactionCanceledException", CancellationReasons=reasons)
