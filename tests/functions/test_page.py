"""The page's files as the function serves them, from files that the tests build of nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.aws import invocation
from support.aws.api_gateway import Front

DOCUMENT = '<meta name="gatehouse-sockets" content="SOCKETS"><script src="ui/page-1.js"></script>'
SOCKETS = "wss://ws12345678.execute-api.us-east-1.amazonaws.com/live"


@pytest.fixture
def page(front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.setenv("GATEHOUSE_SOCKET_URL", SOCKETS)
    front.renew("page")
    module = front.function("page")
    files = {"index.html": DOCUMENT, "page-1.js": "1;", "page-1.css": "a{}", "icon-1.svg": "<svg/>"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "notes.txt").write_text("not served")
    monkeypatch.setattr(module, "FILES", tmp_path)
    monkeypatch.setattr(module, "CONTENT", module._read())  # noqa: SLF001
    yield module
    front.renew("page")


@pytest.mark.usefixtures("page")
def test_the_document_is_never_used_without_asking_again(front: Front) -> None:
    answer = front("GET", "/ui")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text == DOCUMENT.replace("SOCKETS", SOCKETS)
    again = front("GET", "/ui", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.text) == (304, "")
    other = front("GET", "/ui", headers={"If-None-Match": '"other"'})
    assert other.status == 200


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/ui/page-1.js", "text/javascript; charset=utf-8", "1;"),
        ("/ui/page-1.css", "text/css; charset=utf-8", "a{}"),
        ("/ui/icon-1.svg", "image/svg+xml", "<svg/>"),
        ("/ui/ui/page-1.js", "text/javascript; charset=utf-8", "1;"),  # as seen from `/ui/`
    ],
)
@pytest.mark.usefixtures("page")
def test_a_file_named_by_its_content_is_kept_for_ever(
    front: Front, path: str, kind: str, text: str
) -> None:
    answer = front("GET", path)
    assert (answer.status, answer.text) == (200, text)
    assert answer.headers["content-type"] == kind
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path",
    ["/ui/index.html", "/ui/notes.txt", "/ui/page-2.js", "/ui/..%2Fhandler.py", "/ui/x/y"],
)
@pytest.mark.usefixtures("page")
def test_nothing_else_is_served(front: Front, path: str) -> None:
    answer = front("GET", path)
    assert answer.status == 404
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("page")
def test_every_answer_has_the_security_headers(front: Front) -> None:
    for path in ("/", "/ui", "/ui/page-1.js", "/ui/none"):
        headers = front("GET", path).headers
        policy = dict(
            [*part.split(" ", 1), ""][:2] for part in headers["content-security-policy"].split("; ")
        )
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": f"'self' {SOCKETS}",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(("seen", "way"), [("/live/", "ui"), ("/live", "live/ui"), ("/", "ui")])
def test_the_root_leads_to_the_page_under_a_stage_or_not(
    front: Front, page: ModuleType, seen: str, way: str
) -> None:
    event = _event(front, "/")
    event["requestContext"]["path"] = seen
    answer = page.handler(event, invocation.Context())
    assert (answer["statusCode"], answer["headers"]["Location"]) == (302, way)


@pytest.mark.usefixtures("page")
def test_head_answers_as_get_does_without_the_body(front: Front) -> None:
    answer = front("HEAD", "/ui")
    assert (answer.status, answer.text) == (200, "")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("setting", "files", "why"),
    [("off", True, "switched off"), ("on", False, re.escape("run `make page`"))],
)
def test_a_page_that_is_off_or_not_built_says_so(
    front: Front,
    page: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    files: bool,  # noqa: FBT001
    why: str,
) -> None:
    monkeypatch.setattr(page, "IS_ON", setting == "on")
    if not files:
        monkeypatch.setattr(page, "CONTENT", {})
    for path in ("/", "/ui", "/ui/page-1.js"):
        answer = front("GET", path)
        assert answer.status == 404
        assert re.search(why, answer.text)


def _event(front: Front, path: str) -> dict[str, Any]:
    from support.aws.api_gateway import _find  # noqa: PLC0415

    route, parameters = _find("GET", path)
    assert route is not None
    return front.event(route, path, parameters, {}, None, None, "203.0.113.7", "r")
