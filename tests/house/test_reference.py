"""The OpenAPI document, the error codes and the reference page match the code."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

from gatehouse.core import errors
from gatehouse.web import reference
from support.aws.api_gateway import routes

ROOT = Path(__file__).parents[2]
SOURCES = [*(ROOT / "layers/gatehouse/python").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]


def test_the_committed_openapi_document_is_up_to_date() -> None:
    checked = subprocess.run(
        [sys.executable, str(ROOT / "tools/openapi.py")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr


def test_the_openapi_document_has_the_template_s_routes_and_no_others() -> None:
    described = {
        (method.upper(), path)
        for path, methods in json.loads(reference.document())["paths"].items()
        for method in methods
    }
    # HEAD answers as GET does, without the body, and is not described.
    called = {(route.method, route.path) for route in routes() if route.method != "HEAD"}

    assert described == called


def test_docs_have_the_served_openapi_document() -> None:
    assert (ROOT / "docs/openapi.json").read_text() == reference.document()


def test_every_error_code_is_in_the_page_and_the_docs() -> None:
    used = {
        code
        for source in SOURCES
        for code in re.findall(r"\bcode(?:: str)? ?= ?\"([A-Z_]+)\"", source.read_text())
    } | set(re.findall(r'"code":"([A-Z_]+)"', (ROOT / "template.yaml").read_text()))
    page, docs = reference.page(), (ROOT / "docs/errors.md").read_text()

    assert used <= set(errors.CODES)
    unused = set(errors.CODES) - used
    assert not unused
    for code in errors.CODES:
        assert f'id="{code}"' in page
        assert f"`{code}`" in docs


def test_every_route_is_on_the_page_with_its_requirement() -> None:
    page = html.unescape(reference.page())

    for path, methods in json.loads(reference.document())["paths"].items():
        assert path in page
        for operation in methods.values():
            assert operation["x-needs"]
            assert operation["summary"] in page
