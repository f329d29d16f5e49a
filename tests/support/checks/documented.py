"""Checks answers against the OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from openapi_schema_validator import OAS31Validator

from support.aws import invocation, resources

DOCUMENT = resources.ROOT / "layers/gatehouse/python/gatehouse/web/openapi.json"


@cache
def document() -> dict[str, Any] | None:
    """Read the committed document, None while there is none."""
    return json.loads(DOCUMENT.read_text()) if DOCUMENT.exists() else None


def check_documented(method: str, path: str, answer: invocation.Answer) -> None:
    """Assert that an answer of a documented operation matches its schema."""
    described = document()
    operation = (described or {}).get("paths", {}).get(path, {}).get(method.lower())
    if operation is None or answer.status == 405:  # API Gateway answers 404 for an unknown route
        return
    said = operation["responses"].get(str(answer.status)) or operation["responses"].get("default")
    assert said is not None, f"{method} {path} does not document {answer.status}"
    content = said.get("content", {}).get("application/json")
    if content is None or not answer.text:
        assert answer.text == "" or "content" in said, f"{method} {path} {answer.status}: a body"
        return
    for problem in _validator(json.dumps(content["schema"])).iter_errors(answer.json()):
        raise AssertionError(f"{method} {path} {answer.status}: {problem.message}")


@cache
def _validator(schema: str) -> Any:
    return OAS31Validator(_inlined(json.loads(schema)))


def _inlined(schema: Any) -> Any:
    """Replace each reference by what it names: the validator resolves one for every value."""
    if isinstance(schema, list):
        return [_inlined(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {name: _inlined(value) for name, value in schema.items() if name != "$ref"}
    if "$ref" not in schema:
        return rest
    named = _component(schema["$ref"].removeprefix("#/components/schemas/"))
    return {"allOf": [named, rest]} if rest else named


@cache
def _component(name: str) -> Any:
    return _inlined((document() or {})["components"]["schemas"][name])
