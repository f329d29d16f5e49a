"""What needs no credential: health, readiness, the reference."""

from __future__ import annotations

import json

import pytest

from support.aws.api_gateway import Front
from support.aws.faults import Wire, error, first, unreachable
from support.worlds.held_clock import HeldClock


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz"])
@pytest.mark.parametrize("shape", ["aws", "engine"])
def test_health_is_told_without_a_credential(front: Front, path: str, shape: str) -> None:
    front.shape = shape
    answer = front("GET", path)
    front.shape = "aws"
    assert answer.status == 200
    assert answer.json() == {"status": "ok"}


def test_a_bad_credential_does_no_harm_where_none_is_needed(front: Front) -> None:
    assert front("GET", "/health", headers={"X-Api-Key": "bad"}).status == 200


def test_service_health_tells_what_it_is(
    front: Front, monkeypatch: pytest.MonkeyPatch, held: HeldClock
) -> None:
    monkeypatch.setenv("GATEHOUSE_DEPLOYED_AT", held.text(seconds=-90.5))
    answer = front("GET", "/api/health").json()
    assert set(answer) == {"status", "modules", "uptime", "version"}
    assert answer["status"] == "ok"
    assert answer["uptime"] == 90
    assert "keys" in answer["modules"]
    assert {"federation", "invites", "wallet"} <= set(answer["modules"])
    monkeypatch.delenv("GATEHOUSE_DEPLOYED_AT")
    assert front("GET", "/api/health").json()["uptime"] >= 0


@pytest.mark.parametrize(
    "fault",
    [unreachable, lambda: error("ThrottlingException"), lambda: error("InternalServerError", 500)],
)
def test_readiness_fails_where_a_table_does_not_answer(
    front: Front, line: Wire, fault: object
) -> None:
    line.before = first(1, fault, "GetItem")
    answer = front("GET", "/readyz")
    assert answer.status == 503
    assert front("GET", "/health").status == 200
    assert front("GET", "/readyz").status == 200


def test_the_description_is_openapi_and_tells_every_route(front: Front) -> None:
    from support.aws.api_gateway import routes  # noqa: PLC0415 - beside its use

    answer = front("GET", "/openapi.json")
    assert answer.status == 200
    described = json.loads(answer.text)
    assert described["openapi"].startswith("3.1")
    told = {
        (method.upper(), path) for path, found in described["paths"].items() for method in found
    }
    assert {(route.method, route.path) for route in routes()} <= told


def test_the_reference_page_needs_nothing_from_elsewhere(front: Front) -> None:
    answer = front("GET", "/docs")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for foreign in ("http://", "https://", "<script", "<link", "@import", "url("):
        assert foreign not in answer.text
    for path in ("/v1/api-keys", "/api/auth/keys", "/admin/audit"):
        assert path in answer.text
