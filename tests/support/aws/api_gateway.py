"""API Gateway in one process: it routes requests to the real authorizer and handlers.

A request takes the same way as on AWS: the template's routes name the function, the authorizer
checks the credential, and the function's handler gets the event. Each answer is checked against
the contract before a test receives it.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from gatehouse.core.errors import CODES
from support.aws import invocation, resources
from support.checks.documented import check_documented

SURFACES = {
    "/api/": "services",
    "/v1/": "account",
    "/admin/": "admin",
    "/invite": "admin",
    "/auth/": "admin",
    "/federation/": "admin",
    "/emit": "admin",
    "/claim": "admin",
    "/ack": "admin",
    "/signals/": "admin",
}
# API Gateway renames these in a function's answer: a caller gets x-amzn-remapped-<name>.
RENAMED = {"authorization", "connection", "date", "server", "www-authenticate"}
DOMAIN = "api1234567.execute-api.us-east-1.amazonaws.com"
ARN = "arn:aws:execute-api:us-east-1:123456789012:api1234567/live"


@dataclass(frozen=True)
class Route:
    """An Api event of the template: its function, and whether it is public (needs no key)."""

    method: str
    path: str
    function: str
    public: bool
    pattern: re.Pattern[str] = field(repr=False)


@cache
def routes() -> tuple[Route, ...]:
    """Read every Api event of the template."""
    found = []
    for resource in resources.template()["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resource["Properties"]
        for event in properties.get("Events", {}).values():
            if event["Type"] != "Api":
                continue
            said = event["Properties"]
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(said["Path"]))
            pattern = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>.+)", pattern)
            found.append(
                Route(
                    said["Method"],
                    said["Path"],
                    properties["CodeUri"].removeprefix("functions/"),
                    said.get("Auth", {}).get("Authorizer") == "NONE",
                    re.compile(pattern),
                )
            )
    # A segment without a parameter is preferred, as by API Gateway.
    return tuple(sorted(found, key=lambda one: [part[:1] == "{" for part in one.path.split("/")]))


def extended_id(request_id: str) -> str:
    """Return the id that API Gateway gives a request beside the one that callers can choose."""
    return f"{request_id[-12:]}="


@cache
def _gateway_responses() -> dict[str, Any]:
    """Read the template's gateway responses, by their kinds."""
    api = resources.template()["Resources"]["Api"]["Properties"]
    return dict(api["GatewayResponses"])


class Front:
    """Sends requests. `shape` is `aws`, or `engine`, whose event says `version: 1.0`."""

    def __init__(self, *, shape: str = "aws") -> None:
        self.shape = shape
        self._loaded: dict[str, ModuleType] = {}

    def function(self, name: str) -> ModuleType:
        """Return a function's module, loaded once, as in one execution environment."""
        if name not in self._loaded:
            self._loaded[name] = invocation.load(name)
        return self._loaded[name]

    def renew(self, name: str) -> None:
        """Unload a function: the next request starts a new execution environment."""
        self._loaded.pop(name, None)

    def __call__(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        query: Mapping[str, str | Sequence[str]] | None = None,
        source: str = "203.0.113.7",
    ) -> invocation.Answer:
        """Send one request. `body` is sent as base64 if it is bytes, as JSON unless it is text."""
        sent = {"Host": "api.example.com", "User-Agent": "tests", "X-Forwarded-For": source}
        if body is not None:
            sent["Content-Type"] = "application/json"
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        sent |= headers or {}
        request_id = str(uuid.uuid4())
        route, parameters = _find(method, path)
        if route is None:
            return self._refused("MISSING_AUTHENTICATION_TOKEN", request_id)
        event = self.event(route, path, parameters, sent, query, body, source, request_id)
        if not route.public:
            context = self.authorize(event)
            if isinstance(context, invocation.Answer):
                return context
            event["requestContext"]["authorizer"] = context
        raw = self.function(route.function).handler(event, invocation.Context())
        return answer_of(raw, event, method=method)

    def authorize(self, event: dict[str, Any]) -> dict[str, Any] | invocation.Answer:
        """Call the authorizer; return its context, or the gateway's answer to a refusal."""
        request_id = event["requestContext"]["requestId"]
        asked = {
            name: event[name]
            for name in ("resource", "path", "httpMethod", "headers", "queryStringParameters")
        } | {
            "type": "REQUEST",
            "methodArn": f"{ARN}/{event['httpMethod']}{event['path']}",
            "requestContext": dict(event["requestContext"]),
        }
        try:
            said = self.function("authorizer").handler(asked, invocation.Context())
        except Exception as error:  # noqa: BLE001 - as the gateway sees it
            refused = self._refused("AUTHORIZER_FAILURE", request_id)
            refused.cause = error
            return refused
        statement = said["policyDocument"]["Statement"][0]
        assert statement["Resource"] == f"{ARN}/*"
        context = said["context"]
        assert all(isinstance(value, str) for value in context.values())
        if statement["Effect"] != "Allow":
            assert context == {}, "the context of a refused credential must be empty"
            return self._refused("ACCESS_DENIED", request_id)
        return {**context, "principalId": said["principalId"], "integrationLatency": 3}

    def authorize_socket(self, event: dict[str, Any]) -> dict[str, str] | None:
        """Call the authorizer for a $connect event; return its context, or None if it denies."""
        asked = {**event, "type": "REQUEST", "methodArn": f"{ARN}/$connect"}
        said = self.function("authorizer").handler(asked, invocation.Context())
        allowed = said["policyDocument"]["Statement"][0]["Effect"] == "Allow"
        return said["context"] if allowed else None

    def admits(self, key: str) -> bool:
        """Return whether the authorizer allows a key. Calls no other function."""
        return self.admits_headers({"Authorization": f"Bearer {key}"})

    def admits_headers(self, headers: Mapping[str, str]) -> bool:
        """Return whether the authorizer allows a request with these headers alone."""
        route = next(route for route in routes() if not route.public)
        request_id = str(uuid.uuid4())
        event = self.event(route, route.path, {}, headers, None, None, "203.0.113.7", request_id)
        return not isinstance(self.authorize(event), invocation.Answer)

    def event(
        self,
        route: Route,
        path: str,
        parameters: dict[str, str],
        headers: Mapping[str, Any],
        query: Mapping[str, str | Sequence[str]] | None,
        body: Any,
        source: str,
        request_id: str,
    ) -> dict[str, Any]:
        """Write the proxy event that API Gateway, or the engine, would send."""
        text, encoded = body, False
        if isinstance(body, bytes):
            text, encoded = base64.b64encode(body).decode(), True
        elif body is not None and not isinstance(body, str):
            text = json.dumps(body)
        values = {
            name: [value] if isinstance(value, str) else list(value)
            for name, value in (query or {}).items()
        }
        event = {
            "resource": route.path,
            "path": path,
            "httpMethod": route.method,
            "headers": dict(headers),
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": (
                {name: many[-1] for name, many in values.items()} if query else None
            ),
            "multiValueQueryStringParameters": values or None,
            "pathParameters": parameters or None,
            "stageVariables": None,
            "requestContext": {
                "resourceId": "r1",
                "resourcePath": route.path,
                "httpMethod": route.method,
                "path": f"/live{path}",
                "accountId": "123456789012",
                "protocol": "HTTP/1.1",
                "stage": "live",
                "requestId": request_id,
                "extendedRequestId": extended_id(request_id),
                "apiId": "api1234567",
                "identity": {"sourceIp": source, "userAgent": "tests"},
            },
            "body": text,
            "isBase64Encoded": encoded,
        }
        if self.shape == "engine":  # its events have no domain name, and repeats the id
            event["requestContext"]["extendedRequestId"] = request_id
            return {"version": "1.0", **event}
        event["requestContext"]["domainName"] = DOMAIN
        return event

    def _refused(self, kind: str, request_id: str) -> invocation.Answer:
        """Answer as the template's gateway response of this kind says."""
        said = _gateway_responses()[kind]
        text = said["ResponseTemplates"]["application/json"]
        headers = {
            name.lower(): request_id if value == "context.requestId" else value.strip("'")
            for name, value in said["ResponseParameters"]["Headers"].items()
        }
        answer = invocation.Answer(
            status=said["StatusCode"],
            headers=headers,
            text=text.replace("$context.requestId", request_id),
            request_id=request_id,
        )
        assert answer.json()["status"] == answer.status
        assert (answer.status == 401) == ("www-authenticate" in answer.headers)
        assert headers["x-request-id"] == request_id
        return answer


def answer_of(
    raw: dict[str, Any], event: dict[str, Any], *, method: str, documented: bool = True
) -> invocation.Answer:
    """Read a handler's answer and check it against the contract of all answers."""
    assert isinstance(raw["statusCode"], int)
    headers = {name.lower(): value for name, value in raw["headers"].items()}
    assert len(headers) == len(raw["headers"]), f"a header is set twice: {raw['headers']}"
    for values in raw.get("multiValueHeaders", {}).values():
        assert all(isinstance(value, str) for value in values)
    text = raw["body"]
    if raw.get("isBase64Encoded"):
        text = base64.b64decode(text).decode()
    request_id = event["requestContext"]["requestId"]
    answer = invocation.Answer(
        status=raw["statusCode"], headers=headers, text=text, request_id=request_id
    )
    assert headers["x-request-id"] == request_id
    _check_limit_headers(answer, event["requestContext"].get("authorizer") or {})
    _check_surface(answer, surface_of(event["path"]))
    if method == "HEAD":
        # API Gateway takes the length from the body, which it does not send.
        headers["content-length"] = str(len(text.encode()))
        answer.text = ""
    if documented:
        check_documented(method, event["resource"], answer)
    return answer


def surface_of(path: str) -> str:
    """Name the surface that a path belongs to."""
    if path == "/" or path.startswith("/ui"):
        return "page"
    return next((name for start, name in SURFACES.items() if path.startswith(start)), "services")


def _find(method: str, path: str) -> tuple[Route | None, dict[str, str]]:
    for route in routes():
        matched = route.pattern.fullmatch(path)
        if matched and route.method == method:
            return route, {name: unquote(value) for name, value in matched.groupdict().items()}
    return None, {}


def _check_limit_headers(answer: invocation.Answer, context: Mapping[str, Any]) -> None:
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    there = [name for name in names if name in answer.headers]
    assert there == (list(names) if "limit_state" in context else [])
    for name in there:
        assert answer.headers[name].isdecimal()
    if answer.status in {429, 503}:
        assert int(answer.headers["retry-after"]) >= 1
    assert not RENAMED & set(answer.headers)


def _check_surface(answer: invocation.Answer, surface: str) -> None:
    if answer.status == 204:
        assert not answer.text
        return
    if surface == "page":
        return
    if not answer.headers["content-type"].startswith("application/json"):
        assert answer.status == 200
        return
    value = answer.json()
    if answer.status < 400:
        if surface == "account":
            assert set(value) <= {"data", "cursor"}
        elif surface == "admin":
            # A replayed answer has the body of the first one, with the id of the first request.
            again = answer.headers.get("idempotent-replayed") == "true"
            assert (value["meta"]["request_id"] == answer.request_id) != again
            assert "data" in value
        return
    common = {name: value.pop(name, None) for name in ("code", "message", "detail", "needed")}
    assert re.fullmatch(r"[A-Z]+(_[A-Z0-9]+)*", common["code"])
    assert common["message"]
    assert common["detail"] == CODES[common["code"]]
    assert common["needed"] is None or answer.status == 403
    if surface == "services":
        assert value == {"error": value["error"], "status": answer.status}
        assert value["error"] == common["message"]
    elif surface == "account":
        assert value in [{"error": common["message"]}, {"error": "Not Found"}]
    else:
        error = value.pop("error")
        assert not value
        assert (error["code"], error["message"]) == (common["code"], common["message"])
        assert error["docs_url"].endswith(f"/docs#{error['code']}")
        assert set(error) == {"code", "message", "request_id", "details", "docs_url"}
        assert error["request_id"] == answer.request_id
        assert error["docs_url"].endswith(f"/docs#{error['code']}")
        assert re.fullmatch(r"[A-Z]+(_[A-Z0-9]+)+", error["code"])


def error_text(answer: invocation.Answer) -> str:
    """Return the message of an error, on any surface."""
    found = answer.json()["error"]
    return found if isinstance(found, str) else found["message"]
