"""The operations of the OpenAPI document, to test one rule on every route that it applies to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from support.checks.documented import document

METHODS = ("get", "put", "post", "delete", "patch")
# Objects whose names are the caller's own.
FREE_FORM = {"metadata", "payload", "headers"}


@dataclass(frozen=True)
class Operation:
    """One operation, with resolved schemas. `body` is None where it has no request body."""

    method: str
    path: str
    public: bool
    body: dict[str, Any] | None
    parameters: dict[str, dict[str, Any]]
    query: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@cache
def operations() -> tuple[Operation, ...]:
    """Read every operation, its schemas resolved."""
    described = document()
    assert described is not None
    found = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            parameters = operation.get("parameters", [])
            found.append(
                Operation(
                    method.upper(),
                    path,
                    operation["security"] == [],
                    None if schema is None else resolved(schema),
                    {one["name"]: resolved(one["schema"]) for one in parameters},
                    tuple(one["name"] for one in parameters if one["in"] == "query"),
                )
            )
    return tuple(found)


def with_body() -> tuple[Operation, ...]:
    """Return the operations that have a request body."""
    return tuple(one for one in operations() if one.body is not None)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its references replaced, all the way down."""
    described = document()
    assert described is not None
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return resolved(described["components"]["schemas"][name])
    deeper: dict[str, Any] = {}
    for name, value in schema.items():
        if isinstance(value, dict):
            deeper[name] = (
                {one: resolved(inner) for one, inner in value.items()}
                if name == "properties"
                else resolved(value)
            )
        elif name in {"anyOf", "allOf", "oneOf"}:
            deeper[name] = [resolved(one) for one in value]
        else:
            deeper[name] = value
    return deeper


def objects(schema: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple, dict]]:
    """Yield every object with named fields in a schema, and where it is; "[]" is a list's entry."""
    for one in schema.get("anyOf", [schema]):
        if "properties" in one:
            yield at, one
            for name, inner in one["properties"].items():
                yield from objects(inner, (*at, name))
        elif isinstance(one.get("items"), dict):
            yield from objects(one["items"], (*at, "[]"))


def nested(at: tuple[str, ...], value: Any) -> Any:
    """Put a value where `objects` found its place."""
    for name in reversed(at):
        value = [value] if name == "[]" else {name: value}
    return value
