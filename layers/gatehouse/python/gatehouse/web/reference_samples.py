"""What the reference page shows of a schema: its type, its shape, and an example request."""

from __future__ import annotations

import json
import re
from typing import Any

_MOMENT = "2030-01-01T00:00:00Z"
_WEBSOCKET = "426"  # only a route that is a WebSocket answers a plain request so


def command(spec: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    """Return a request for sh, with the required fields and those that have an example."""
    address = re.sub(r"\{(\w+)\}", lambda match: match[1].upper(), path)
    if _WEBSOCKET in operation["responses"]:
        return f"gatehouse logs NAME   # a WebSocket: {address}"
    words = ["curl -s" if method == "GET" else f"curl -s -X {method}"]
    if operation["security"]:
        words.append('-H "Authorization: Bearer $GATEHOUSE_API_KEY"')
    words += [
        f"-H '{entry['name']}: ...'" for entry in operation.get("parameters", []) if _sent(entry)
    ]
    body = operation.get("requestBody")
    if body:
        example = _example(spec, body["content"]["application/json"]["schema"])
        quoted = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
        words += ["-H 'Content-Type: application/json'", f"-d '{quoted}'"]
    return " \\\n  ".join([*words, f'"$GATEHOUSE_URL{address}"'])


def type_of(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return a schema's type in words."""
    resolved = resolve(spec, schema)
    if "anyOf" in resolved:
        return " or ".join(type_of(spec, one) for one in resolved["anyOf"])
    if "enum" in resolved:
        return ", ".join(map(str, resolved["enum"]))
    if resolved.get("type") == "array":
        return f"list of {type_of(spec, resolved.get('items', {}))}"
    return str(resolved.get("type", "any"))


def shape(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return the JSON that a schema describes, with types in place of values."""
    resolved = resolve(spec, schema)
    if "properties" in resolved:
        return {name: shape(spec, field) for name, field in resolved["properties"].items()}
    if resolved.get("type") == "array":
        return [shape(spec, resolved.get("items", {}))]
    return type_of(spec, resolved)


def resolve(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a reference names."""
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[1]
    resolved: dict[str, Any] = spec["components"]["schemas"][name]
    return resolved


def _sent(parameter: dict[str, Any]) -> bool:
    return parameter["in"] == "header" and bool(parameter.get("required"))


def _example(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return a value that a schema describes."""
    resolved = resolve(spec, schema)
    for listed in ("examples", "enum"):
        if resolved.get(listed):
            return resolved[listed][0]
    if "anyOf" in resolved:
        return _example(spec, resolved["anyOf"][0])
    kind = resolved.get("type")
    if kind == "object":
        required = resolved.get("required", [])
        return {
            name: _example(spec, field)
            for name, field in resolved.get("properties", {}).items()
            if name in required or field.get("examples")
        }
    if kind == "array":
        return [_example(spec, resolved["items"])] if resolved.get("minItems") else []
    if kind in {"integer", "number"}:
        return int(resolved.get("minimum", 1))
    return True if kind == "boolean" else _text(resolved)


def _text(resolved: dict[str, Any]) -> str:
    return _MOMENT if resolved.get("format") == "date-time" else "..."
