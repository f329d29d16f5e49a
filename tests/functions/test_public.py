"""Routes without a credential: health, readiness, the reference."""

from __future__ import annotations

import json

import pytest

from gatehouse.web.gateway_event import base_url_of
from house import sources
from support.actors.people import People
from support.aws.api_gateway import DOMAIN, Front, routes
from support.aws.faults import Wire, error, first, no_answer
from support.worlds.held_clock import HeldClock


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz"])
@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_health_needs_no_credential(front: Front, path: str, shape: str) -> None:
    front.shape = shape
    answer = front("GET", path)
    front.shape = "aws"
    assert answer.status == 200
    assert answer.json() == {"status": "ok"}


def test_a_bad_credential_is_ignored_on_public_routes(front: Front) -> None:
    assert front("GET", "/health", headers={"X-Api-Key": "bad"}).status == 200


def test_service_health_lists_every_room_as_a_module(
    front: Front, monkeypatch: pytest.MonkeyPatch, held: HeldClock
) -> None:
    monkeypatch.setenv("GATEHOUSE_DEPLOYED_AT", held.text(seconds=-90.5))
    answer = front("GET", "/api/health").json()
    assert set(answer) == {"status", "modules", "uptime", "version"}
    assert answer["status"] == "ok"
    assert answer["uptime"] == 90
    assert answer["modules"] == sorted({module.room for module in sources.rooms()})
    monkeypatch.delenv("GATEHOUSE_DEPLOYED_AT")
    assert front("GET", "/api/health").json()["uptime"] >= 0


@pytest.mark.parametrize(
    "fault",
    [no_answer, lambda: error("ThrottlingException"), lambda: error("InternalServerError", 500)],
)
def test_readiness_is_503_if_a_table_does_not_answer(
    front: Front, line: Wire, fault: object
) -> None:
    line.before = first(1, fault, "GetItem")
    answer = front("GET", "/readyz")
    assert answer.status == 503
    assert front("GET", "/health").status == 200
    assert front("GET", "/readyz").status == 200


def test_the_openapi_document_describes_every_route(front: Front) -> None:
    answer = front("GET", "/openapi.json")
    assert answer.status == 200
    described = json.loads(answer.text)
    assert described["openapi"].startswith("3.1")
    documented = {
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    }
    assert {
        (route.method, route.path)
        for route in routes()
        if route.method != "HEAD" and route.function not in sources.WITHOUT_DOOR
    } <= documented


def test_the_reference_page_loads_nothing_from_other_hosts(front: Front) -> None:
    answer = front("GET", "/docs")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    for foreign in ("src=", "<link", "@import", "url(", 'href="http', "fetch("):
        assert foreign not in answer.text
    for path in ("/v1/api-keys", "/api/auth/keys", "/admin/audit"):
        assert path in answer.text


def test_every_public_get_answers_head_with_the_same_headers(
    front: Front, settings_key: str, line: Wire
) -> None:
    del settings_key
    paths = [
        route.path
        for route in routes()
        if route.method == "GET" and route.public and route.function not in sources.WITHOUT_DOOR
    ]
    assert len(paths) == 7
    for path in paths:
        got, head = front("GET", path), front("HEAD", path)
        assert (head.status, head.text) == (200, "")
        assert head.headers | {"x-request-id": got.request_id} == got.headers
        assert int(got.headers["content-length"]) == len(got.text.encode()) > 0
    line.before = first(1, no_answer, "GetItem")
    assert front("HEAD", "/readyz").status == 503
    assert front("HEAD", "/health", query={"x": "1"}).status == 400


def test_a_protected_get_does_not_answer_head(front: Front, people: People) -> None:
    assert front("HEAD", "/v1/whoami", key=people.tenant().key).status == 404


@pytest.mark.parametrize(
    ("shape", "setting", "base"),
    [
        ("aws", "", f"https://{DOMAIN}/live"),
        ("aws", "https://api.example/", "https://api.example"),
        ("engine", "http://localhost:8081", "http://localhost:8081"),
    ],
)
def test_an_error_links_its_code_with_an_absolute_url(
    front: Front, monkeypatch: pytest.MonkeyPatch, shape: str, setting: str, base: str
) -> None:
    monkeypatch.setenv("GATEHOUSE_BASE_URL", setting)
    front.shape = shape
    error = front("POST", "/auth/siwe-login", body={}).json()["error"]
    assert error["docs_url"] == f"{base}/docs#VALIDATION_FIELD_REQUIRED"
    assert 'id="VALIDATION_FIELD_REQUIRED"' in front("GET", "/docs").text


@pytest.mark.parametrize(
    ("path", "whole", "stage"),
    [("/emit", "/live/emit", "/live"), ("/emit", "/emit", ""), ("", "", ""), ("/a", "/b", "")],
)
def test_the_base_url_has_the_stage_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, path: str, whole: str, stage: str
) -> None:
    monkeypatch.delenv("GATEHOUSE_BASE_URL", raising=False)
    event = {"path": path, "requestContext": {"path": whole, "domainName": "a.example"}}
    assert base_url_of(event) == f"https://a.example{stage}"
    assert base_url_of({"requestContext": {}}) == ""
