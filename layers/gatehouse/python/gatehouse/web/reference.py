"""The OpenAPI document, and an HTML page of it that loads nothing from other hosts."""

from __future__ import annotations

import html
import json
from functools import cache
from importlib import resources
from typing import Any

from gatehouse.core import errors

VERSION = "0.1.0"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}
details{border:1px solid #d0d7de;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}code,pre{font:14px ui-monospace,monospace}
pre{background:#f6f8fa;padding:.8rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.5rem;font-weight:600}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre{background:#161b22}
details,h2{border-color:#30363d}}
"""


@cache
def document() -> str:
    """Return the OpenAPI document, as committed."""
    return resources.files("gatehouse").joinpath("web", "openapi.json").read_text()


@cache
def page() -> str:
    """Return the reference as one HTML page without scripts."""
    spec = json.loads(document())
    groups: dict[str, list[str]] = {}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            entry = _operation(spec, method.upper(), path, operation)
            groups.setdefault(operation["tags"][0], []).append(entry)
    sections = "".join(
        f"<h2>{html.escape(name.capitalize())} surface</h2>{''.join(entries)}"
        for name, entries in groups.items()
    )
    info = spec["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(info['title'])}</h1><p>Version {html.escape(info['version'])}."
        ' The same as <a href="openapi.json">openapi.json</a>.</p>'
        f"<p>{html.escape(info['description'])}</p>{sections}{_codes()}</body></html>"
    )


def _codes() -> str:
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{html.escape(meaning)}</td></tr>'
        for code, meaning in errors.CODES.items()
    )
    return f"<h2>Error codes of the admin surface</h2><table>{rows}</table>"


def _operation(spec: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{html.escape(operation.get('description', ''))}</p>"]
    parts.append(f"<p>Needs: <code>{html.escape(operation['x-needs'])}</code></p>")
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><td><code>{html.escape(entry['name'])}</code></td>"
            f"<td>{html.escape(entry['in'])}</td>"
            f"<td>{html.escape(_type(spec, entry['schema']))}</td></tr>"
            for entry in parameters
        )
        parts.append(f"<table><tr><th>Parameter</th><th>In</th><th>Type</th></tr>{rows}</table>")
    body = operation.get("requestBody")
    if body:
        schema = body["content"]["application/json"]["schema"]
        parts.append(f"<p>Body</p>{_fields(spec, schema)}")
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/json")
        shown = f"<pre>{html.escape(_sample(spec, content['schema']))}</pre>" if content else ""
        parts.append(f"<p>{status} {html.escape(response['description'])}</p>{shown}")
    return (
        f"<details><summary><span class=m>{method}</span><code>{html.escape(path)}</code> "
        f"{html.escape(operation['summary'])}</summary>{''.join(parts)}</details>"
    )


def _fields(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    resolved = _resolve(spec, schema)
    required = resolved.get("required", [])
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>"
        f"{'required' if name in required else 'optional'}</td>"
        f"<td>{html.escape(_type(spec, field))}</td>"
        f"<td>{html.escape(field.get('description', ''))}</td></tr>"
        for name, field in resolved.get("properties", {}).items()
    )
    return f"<table><tr><th>Field</th><th></th><th>Type</th><th></th></tr>{rows}</table>"


def _type(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    resolved = _resolve(spec, schema)
    if "anyOf" in resolved:
        return " or ".join(_type(spec, one) for one in resolved["anyOf"])
    if "enum" in resolved:
        return ", ".join(map(str, resolved["enum"]))
    if resolved.get("type") == "array":
        return f"list of {_type(spec, resolved.get('items', {}))}"
    return str(resolved.get("type", "any"))


def _sample(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    return json.dumps(_shape(spec, schema), indent=2)


def _shape(spec: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return the JSON that a schema describes, with types in place of values."""
    resolved = _resolve(spec, schema)
    if "properties" in resolved:
        return {name: _shape(spec, field) for name, field in resolved["properties"].items()}
    if resolved.get("type") == "array":
        return [_shape(spec, resolved.get("items", {}))]
    return _type(spec, resolved)


def _resolve(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    name = schema["$ref"].rsplit("/", 1)[1]
    resolved: dict[str, Any] = spec["components"]["schemas"][name]
    return resolved
