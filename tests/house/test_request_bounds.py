"""Every value of a request is bounded in the OpenAPI document, which is made from the models.

Answers are not: a client must go on reading an answer that has a field more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.checks import described_routes
from support.checks.described_routes import FREE_FORM

# A field of a nested object is named as a path: filters.rings.
Problem = str
BOUNDS: dict[str | None, set[str]] = {
    "array": {"maxItems"},
    "boolean": set(),
    "integer": {"maximum", "minimum"},
    "null": set(),
    "number": {"maximum", "minimum"},
    "object": set(),
    "string": {"maxLength"},
}


def unbounded(schema: dict[str, Any], at: str) -> Iterator[Problem]:
    """Yield what is not bounded in a resolved schema."""
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from unbounded(one, at)
        return
    kind = schema.get("type")
    if kind == "object":
        yield from _object(schema, at)
    elif kind == "array":
        yield from unbounded(schema.get("items", {}), f"{at}[]")
    if kind not in BOUNDS:
        yield f"{at}: no type"
    elif not BOUNDS[kind] <= set(schema) and not (kind == "string" and _is_bounded(schema)):
        yield f"{at}: no {' or '.join(sorted(BOUNDS[kind]))}"


def _is_bounded(schema: dict[str, Any]) -> bool:
    pattern = schema.get("pattern", "*")
    return "enum" in schema or (pattern.startswith("^") and not {"*", "+"} & set(pattern))


def _object(schema: dict[str, Any], at: str) -> Iterator[Problem]:
    more = schema.get("additionalProperties")
    if "properties" in schema:
        if more is not False:
            yield f"{at}: additionalProperties is not false"
        for name, inner in schema["properties"].items():
            yield from unbounded(inner, f"{at}.{name}" if at else name)
        return
    if at.rpartition(".")[2] not in FREE_FORM:
        yield f"{at}: free names"
    if "maxProperties" not in schema:
        yield f"{at}: no maxProperties"
    if isinstance(more, dict):
        yield from unbounded(more, f"{at}.*")
    if "propertyNames" in schema:
        yield from unbounded({"type": "string", **schema["propertyNames"]}, f"{at}.<name>")


def test_every_field_of_every_body_is_bounded() -> None:
    problems = [
        f"{operation} {problem}"
        for operation in described_routes.with_body()
        for problem in unbounded(operation.body or {}, "")
    ]

    assert not problems


def test_every_parameter_is_bounded() -> None:
    problems = [
        f"{operation} {problem}"
        for operation in described_routes.operations()
        for name, schema in operation.parameters.items()
        for problem in unbounded(schema, name)
    ]

    assert not problems


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string"}, "x: no maxLength"),
        ({"type": "string", "pattern": "a*"}, "x: no maxLength"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "x: no maximum or minimum"),
        ({"type": "array", "items": {"type": "boolean"}}, "x: no maxItems"),
        ({"type": "array", "maxItems": 1, "items": {"type": "string"}}, "x[]: no maxLength"),
        ({"type": "object", "maxProperties": 1}, "x: free names"),
        ({"type": "object", "properties": {}}, "x: additionalProperties is not false"),
        ({"type": "object", "properties": {"metadata": {"type": "object"}},
          "additionalProperties": False}, "x.metadata: no maxProperties"),
        ({}, "x: no type"),
    ],
)  # fmt: skip
def test_what_is_not_bounded_is_found(schema: dict, problem: str) -> None:
    assert list(unbounded(schema, "x")) == [problem]
