"""The OpenAPI document, the error codes and the reference page match the code."""

import base64
import hashlib
import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from openapi_schema_validator import OAS31Validator

from gatehouse.core import errors
from gatehouse.web import reference
from gatehouse.web import reference_samples as samples
from house import sources
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
    called = {
        (route.method, route.path)
        for route in routes()
        if route.method != "HEAD" and route.function not in sources.WITHOUT_DOOR
    }

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


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    spec = json.loads(reference.document())
    return [
        (method.upper(), path, operation)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_anchor_of_the_page_exists_once() -> None:
    page = reference.page()
    names = re.findall(r'\bid="([^"]+)"', page)
    wanted = re.findall(r'href="#([^"]+)"', page)

    assert len(names) == len(set(names))
    assert set(wanted) <= set(names)
    assert len(re.findall("<article ", page)) == len(operations())


def test_the_page_loads_nothing_and_runs_its_own_script_only() -> None:
    page, policy = reference.page(), reference.content_security_policy()
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)

    assert len(scripts) == page.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not re.findall(r"<(?:link|img|iframe|base|object)\b|\bon[a-z]+=|\bsrc=", page)
    assert set(re.findall(r'href="([^#"][^"]*)"', page)) == {"openapi.json"}


def test_the_page_says_how_to_authenticate() -> None:
    text = html.unescape(reference.page())

    for header in ("Authorization: Bearer <key>", "X-Hammurabi-Api-Key", "X-Api-Key"):
        assert header in text
    for status in ("401", "403", "429", "Retry-After", "Idempotency-Key", "X-Next-Cursor"):
        assert status in text


def test_every_example_request_is_valid_as_the_document_describes_it() -> None:
    spec = json.loads(reference.document())
    invalid = {}
    for method, path, operation in operations():
        words = shlex.split(samples.command(spec, method, path, operation))
        if words[0] == "gatehouse":
            continue
        assert words[-1] == "$GATEHOUSE_URL" + re.sub(r"\{(\w+)\}", lambda m: m[1].upper(), path)
        assert ("Authorization: Bearer $GATEHOUSE_API_KEY" in words) == bool(operation["security"])
        body = operation.get("requestBody")
        assert ("-d" in words) == bool(body)
        if body:
            schema = body["content"]["application/json"]["schema"]
            sent = json.loads(words[words.index("-d") + 1])
            whole = {**schema, "components": spec["components"]}
            problems = [problem.message for problem in OAS31Validator(whole).iter_errors(sent)]
            if problems:
                invalid[method, path] = problems

    assert invalid == {}


def test_every_route_is_on_the_page_with_its_requirement() -> None:
    page = html.unescape(reference.page())

    for path, methods in json.loads(reference.document())["paths"].items():
        assert path in page
        for operation in methods.values():
            assert operation["x-needs"]
            assert operation["summary"] in page


def test_every_body_has_an_example_that_its_schema_accepts() -> None:
    wrong = []
    document = json.loads(reference.document())
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            schema = {**content["schema"], "components": document["components"]}
            wrong += [
                (method, path, problem.message)
                for problem in OAS31Validator(schema).iter_errors(content["example"])
            ]

    assert not wrong


def test_what_an_operation_makes_links_to_what_reads_and_removes_it() -> None:
    paths = json.loads(reference.document())["paths"]
    named = {
        operation["operationId"]: (method, path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    reached = set()
    for path, methods in paths.items():
        for operation in methods.values():
            for response in operation["responses"].values():
                for link in response.get("links", {}).values():
                    _, other, target = named[link["operationId"]]
                    taken = {one["name"] for one in target.get("parameters", [])}
                    assert set(link.get("parameters", {})) <= taken, (path, other)
                    reached.add(other)

    # Named by the caller, not made: providers and built-in services.
    alone = {path for path in paths if "{" in path} - reached
    assert alone == {"/api/auth/providers/{name}"}
