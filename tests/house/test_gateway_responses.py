"""What API Gateway itself answers: a status for each type, and a body that is always JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gatehouse.core import errors
from house.sources import ROOT
from support.aws import resources

DECLARED: dict[str, Any] = resources.template()["Resources"]["Api"]["Properties"][
    "GatewayResponses"
]

UNAUTHORIZED = (401, "Unauthorized", "AUTH_INVALID_KEY")
NOT_FOUND = (404, "Not Found", "NOT_FOUND")
BAD_REQUEST = (400, "Bad Request", "VALIDATION_INVALID_VALUE")
THROTTLED = (429, "Too Many Requests", "RATE_LIMIT_EXCEEDED")
UNAVAILABLE = (503, "Service Unavailable", "SERVICE_UNAVAILABLE")
# All types that API Gateway has.
RESPONSES = {
    "UNAUTHORIZED": UNAUTHORIZED,
    "ACCESS_DENIED": UNAUTHORIZED,
    "INVALID_API_KEY": UNAUTHORIZED,
    "MISSING_AUTHENTICATION_TOKEN": NOT_FOUND,
    "RESOURCE_NOT_FOUND": NOT_FOUND,
    "INVALID_SIGNATURE": NOT_FOUND,
    "EXPIRED_TOKEN": NOT_FOUND,
    "DEFAULT_4XX": NOT_FOUND,
    "BAD_REQUEST_BODY": BAD_REQUEST,
    "BAD_REQUEST_PARAMETERS": BAD_REQUEST,
    "WAF_FILTERED": (403, "Forbidden", "REQUEST_BLOCKED"),
    "REQUEST_TOO_LARGE": (413, "Payload Too Large", "PAYLOAD_TOO_LARGE"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type", "VALIDATION_CONTENT_TYPE"),
    "THROTTLED": THROTTLED,
    "QUOTA_EXCEEDED": THROTTLED,
    "AUTHORIZER_FAILURE": UNAVAILABLE,
    "AUTHORIZER_CONFIGURATION_ERROR": UNAVAILABLE,
    "API_CONFIGURATION_ERROR": UNAVAILABLE,
    "INTEGRATION_FAILURE": UNAVAILABLE,
    "INTEGRATION_TIMEOUT": UNAVAILABLE,
    "DEFAULT_5XX": UNAVAILABLE,
}
# Variables that API Gateway documents for these templates. It renders an unknown one as nothing.
VARIABLES = {
    "context.requestId": "0b5c1c1e-7a51-4b0e-9a53-6f0c0c9f2a11",
    "context.extendedRequestId": "JKJaXmPLvHcESHA=",
}


def render(text: str, variables: dict[str, str]) -> str:
    """Render a template as API Gateway does: a variable without a value becomes nothing."""
    return re.sub(r"\$\{?([a-zA-Z.]+)\}?", lambda match: variables.get(match[1], ""), text)


def body(kind: str, variables: dict[str, str]) -> dict[str, Any]:
    """Return the body that a type of response has."""
    (text,) = DECLARED[kind]["ResponseTemplates"].values()
    rendered: dict[str, Any] = json.loads(render(text, variables))
    return rendered


def test_every_type_of_response_is_declared() -> None:
    assert set(DECLARED) == set(RESPONSES)


def test_each_type_has_its_status_in_the_answer_and_in_the_body() -> None:
    found = {
        kind: (
            declared["StatusCode"],
            body(kind, VARIABLES)["error"],
            body(kind, VARIABLES)["code"],
        )
        for kind, declared in DECLARED.items()
    }

    assert found == RESPONSES
    assert all(body(kind, VARIABLES)["status"] == found[kind][0] for kind in found)


@pytest.mark.parametrize("variables", [VARIABLES, {}], ids=["given", "missing"])
def test_each_body_is_json_with_and_without_its_variables(variables: dict[str, str]) -> None:
    for kind in DECLARED:
        found = body(kind, variables)
        assert list(found) == ["error", "status", "request_id", "code", "message", "detail"], kind
        assert found["request_id"] == variables.get("context.requestId", "")
        assert found["message"] == found["error"]
        assert found["detail"].endswith(".")


def test_the_templates_use_documented_variables_only() -> None:
    used = {name for one in DECLARED.values() for name in re.findall(r"\$\{?([\w.]+)", str(one))}

    assert used == {"context.requestId"}


def test_the_headers_are_those_of_the_status() -> None:
    again = {"Retry-After": "'1'"}
    more = {401: {"WWW-Authenticate": "'Bearer'"}, 429: again, 503: again}

    for kind, (status, _, _) in RESPONSES.items():
        headers = {"X-Request-Id": "context.requestId", **more.get(status, {})}
        assert DECLARED[kind]["ResponseParameters"] == {"Headers": headers}, kind


def test_each_code_is_one_of_the_documented_codes() -> None:
    docs = (ROOT / "docs" / "errors.md").read_text()

    for _, _, code in RESPONSES.values():
        assert code in errors.CODES
        assert f"`{code}`" in docs
