"""The CloudFront function of the log path: which API gets a request, with which path and query.

The tests run the function with events as CloudFront documents them: header names in lower case,
without Upgrade and Connection; path and query as sent; repeated names as `multiValue`.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import pytest

from house.sources import FUNCTIONS

if sys.platform == "darwin" and platform.machine() != "arm64":
    pytest.skip("there is no wheel of the JavaScript engine", allow_module_level=True)

import quickjs

HANDSHAKE = {
    "Host": "d111111abcdef8.cloudfront.net",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
PLAIN = {"Host": "d111111abcdef8.cloudfront.net", "Authorization": "Bearer hk_made_up"}
HIDDEN = {"connection", "upgrade"}
# Replaces the function's import, because this JavaScript engine has no modules.
IMPORT = 'import cf from "cloudfront";\n'
STAND_IN = """
let selected = null;
const cf = { selectRequestOriginById: (id) => { selected = id; } };
function run(text) {
  selected = null;
  const request = handler(JSON.parse(text));
  return JSON.stringify({ request: request, selected: selected });
}
"""


@dataclass(frozen=True)
class Passed:
    """The request that an origin gets."""

    origin: str
    path: str
    query: str
    headers: dict[str, Any]

    @property
    def meant(self) -> list[tuple[str, str]]:
        """The decoded query as the origin reads it, sorted by name."""
        return sorted(parse_qsl(self.query, keep_blank_values=True))


@cache
def _program() -> Any:
    text = (FUNCTIONS / "front_door" / "handler.js").read_text()
    assert text.startswith(IMPORT)
    context = quickjs.Context()
    context.eval('"use strict";' + text.removeprefix(IMPORT) + STAND_IN)
    return context.get("run")


def _gathered(pairs: Iterator[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = {"value": value}
        else:
            found[name].setdefault("multiValue", [{"value": found[name]["value"]}])
            found[name]["multiValue"].append({"value": value})
    return found


def _written(query: Mapping[str, Any]) -> str:
    return "&".join(
        f"{name}={one['value']}"
        for name, said in query.items()
        for one in said.get("multiValue", [said])
    )


def ask(target: str, headers: Mapping[str, str] = HANDSHAKE, method: str = "GET") -> Passed:
    """Run the function on a request; the default origin of the log path is `socket`."""
    path, _, query = target.partition("?")
    given = {name.lower(): value for name, value in headers.items()}
    request = {
        "method": method,
        "uri": path,
        "querystring": _gathered(
            (name, value)
            for name, _, value in (one.partition("=") for one in query.split("&") if one)
        ),
        "headers": {name: {"value": given[name]} for name in given if name not in HIDDEN},
        "cookies": {},
    }
    event = {"version": "1.0", "context": {"eventType": "viewer-request"}, "request": request}
    told = json.loads(_program()(json.dumps(event)))
    passed = told["request"]
    assert (passed["method"], passed["cookies"]) == (method, {})
    assert passed["headers"] == request["headers"]
    return Passed(
        origin=told["selected"] or "socket",
        path=passed["uri"],
        query=_written(passed["querystring"]),
        headers=passed["headers"],
    )


# ---- Handshakes --------------------------------------------------------------------------------


def test_a_handshake_goes_to_the_websocket_api_with_the_service() -> None:
    passed = ask("/api/services/billing/logs")

    assert (passed.origin, passed.path, passed.query) == ("socket", "/", "service=billing")


@pytest.mark.parametrize("name", ["sec-websocket-key", "SEC-WEBSOCKET-KEY", "Sec-Websocket-Key"])
def test_the_case_of_a_header_s_name_does_not_matter(name: str) -> None:
    passed = ask("/api/services/billing/logs", {**PLAIN, name: "dGhlIHNhbXBsZSBub25jZQ=="})

    assert passed.origin == "socket"


@pytest.mark.parametrize(
    "header", ["Authorization", "X-Hammurabi-Api-Key", "X-Api-Key", "Sec-WebSocket-Protocol"]
)
def test_headers_are_passed_on_unchanged(header: str) -> None:
    passed = ask("/api/services/billing/logs", {**HANDSHAKE, header: "made up"})

    assert passed.headers[header.lower()] == {"value": "made up"}
    assert passed.origin == "socket"


@pytest.mark.parametrize(
    "query",
    [
        "lines=100",
        "since=2026-01-01T00%3A00%3A00Z",
        "token=hk_made_up",
        "access_token=hk_made_up",
        "api_key=hk_made_up",
        "lines=1&lines=2&lines=3",
        "lines=",
        "lines=1&since=a%2Bb%26c%3Dd",
        "Service=other",
        "services=other",
        "service%2500=other",
    ],
)
def test_the_caller_s_query_is_passed_on_unchanged(query: str) -> None:
    passed = ask(f"/api/services/billing/logs?{query}")

    assert passed.query == f"{query}&service=billing"


@pytest.mark.parametrize(
    "query",
    [
        "service=other",
        "service=",
        "service",
        "service=one&service=two",
        "%73ervice=other",
        "servic%65=one&%73%65%72%76%69%63%65=two&service=three",
    ],
)
def test_a_service_in_the_caller_s_query_is_removed(query: str) -> None:
    passed = ask(f"/api/services/billing/logs?lines=5&{query}&token=hk_made_up")

    assert passed.meant == [("lines", "5"), ("service", "billing"), ("token", "hk_made_up")]


@pytest.mark.parametrize("name", ["%zz", "service%", "%C1%B3ervice", "%ED%A0%80"])
def test_a_query_name_that_cannot_be_decoded_is_removed(name: str) -> None:
    passed = ask(f"/api/services/billing/logs?{name}=other&lines=5")

    assert passed.meant == [("lines", "5"), ("service", "billing")]


@pytest.mark.parametrize(
    ("segment", "service"),
    [
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("%2e%2e", ".."),
        ("..", ".."),
        ("%62illing", "billing"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("a&token=x", "a&token=x"),
        ("a;token=x", "a;token=x"),
        ("a%26service%3Dx", "a&service=x"),
        ("a%3Fb%23c", "a?b#c"),
        ("%E2%82%AC", "\N{EURO SIGN}"),
        ("service", "service"),
    ],
)
def test_any_service_name_arrives_as_one_query_value(segment: str, service: str) -> None:
    passed = ask(f"/api/services/{segment}/logs?lines=5")

    assert (passed.origin, passed.path) == ("socket", "/")
    assert passed.meant == [("lines", "5"), ("service", service)]


# ---- Other requests ----------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?service=other&%zz=1&lines=1&lines=2"])
def test_a_plain_request_for_logs_goes_to_the_rest_api_unchanged(query: str) -> None:
    passed = ask(f"/api/services/billing/logs{query}", PLAIN)

    assert (passed.origin, passed.path) == ("rest", "/api/services/billing/logs")
    assert passed.query == query.removeprefix("?")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods_go_to_the_rest_api(method: str) -> None:
    passed = ask("/api/services/billing/logs", HANDSHAKE, method)

    assert (passed.origin, passed.path) == ("rest", "/api/services/billing/logs")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        "/api/services/list",
        "/api/services/billing/health",
        "/api/services/billing/logs/",
        "/api/services/billing/logs/more",
        "/api/services/billing/more/logs",
        "/api/services/billing//logs",
        "/api/services//logs",
        "/api/services/logs",
        "/api//services/billing/logs",
        "//api/services/billing/logs",
        "/live/api/services/billing/logs",
        "/API/services/billing/logs",
        "/api/services/billing/%6Cogs",
        "/api%2Fservices/billing/logs",
        "/api/services/%zz/logs",
        "/api/services/%ED%A0%80/logs",
        "/api/services/billing/logs%0A",
    ],
)
def test_a_handshake_for_another_path_goes_to_the_rest_api(path: str) -> None:
    passed = ask(f"{path}?lines=1&service=other")

    assert (passed.origin, passed.path) == ("rest", path)
    assert passed.query == "lines=1&service=other"
