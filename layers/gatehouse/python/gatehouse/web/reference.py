"""The OpenAPI document, and an HTML page of it that loads nothing from other hosts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib import resources
from typing import Any

from gatehouse.core import errors
from gatehouse.web import reference_samples as samples

VERSION = "0.1.0"

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #d0d7de}
article{border:1px solid #d0d7de;border-radius:6px;margin:1rem 0;padding:.2rem 1rem .6rem}
h3{margin:.4rem 0;font-size:1rem}h3 a{text-decoration:none}[hidden]{display:none}
:target{outline:2px solid #0969da}summary{cursor:pointer}code,pre{font:14px ui-monospace,monospace}
pre{background:#f6f8fa;padding:.8rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.5rem;font-weight:600}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem 1rem .2rem 0;vertical-align:top}
nav ul{columns:2;padding:0;list-style:none}nav li{break-inside:avoid}
#search{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}
@media(max-width:40rem){nav ul{columns:1}}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}pre{background:#161b22}
article,h2{border-color:#30363d}a{color:#58a6ff}}
"""
# Without scripts the page is complete: the list has links, and a browser finds text in it.
_SCRIPT = """
const field=document.getElementById("search");
const links=new Map([...document.querySelectorAll("nav li a")].map(link=>[link.hash,link]));
const entries=[...document.querySelectorAll("article")].map(entry=>({entry,
link:links.get("#"+entry.id).parentNode,text:entry.textContent.toLowerCase()}));
function search(){const words=field.value.toLowerCase().split(/\\s+/);
for(const {entry,link,text} of entries)
entry.hidden=link.hidden=!words.every(word=>text.includes(word))}
field.hidden=false;field.addEventListener("input",search);
addEventListener("hashchange",()=>{field.value="";search();
document.getElementById(location.hash.slice(1))?.scrollIntoView()});
"""
_AUTHENTICATION = """
<h2 id="authentication">Authentication</h2>
<p>Send a key with each request, in one of three headers. The first one that is present decides:
<code>Authorization: Bearer &lt;key&gt;</code>, <code>X-Hammurabi-Api-Key</code>,
<code>X-Api-Key</code>. Routes that need nothing are public. Any key works on every surface, as far
as its scopes and permissions allow.</p>
<pre>export GATEHOUSE_URL=https://api.example.com   # the base URL of your stack
export GATEHOUSE_API_KEY=...                   # `gatehouse bootstrap` prints the first one
curl -s -H "Authorization: Bearer $GATEHOUSE_API_KEY" "$GATEHOUSE_URL/v1/whoami"</pre>
<table><tr><th>Status</th><th>Meaning</th></tr>
<tr><td>401</td><td>The key is missing, unknown, expired, disabled or revoked.</td></tr>
<tr><td>403</td><td>The key lacks a scope, or the policy denies its identity.</td></tr>
<tr><td>429</td><td>The rate limit is used up; <code>Retry-After</code> says for how many seconds.
</td></tr></table>
<p>Lists take <code>limit</code> and <code>after</code>; the header <code>X-Next-Cursor</code> has
the value of <code>after</code> for the next page. A POST that creates something takes an
<code>Idempotency-Key</code>: a repeat within 24 hours creates nothing. Every answer has an
<code>X-Request-Id</code>.</p>
"""


@cache
def document() -> str:
    """Return the OpenAPI document, as committed."""
    return resources.files("gatehouse").joinpath("web", "openapi.json").read_text()


@cache
def page() -> str:
    """Return the reference as one HTML page with a script of its own for the search."""
    spec = json.loads(document())
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    lists = "".join(_list(name, entries) for name, entries in groups.items())
    sections = "".join(
        f'<h2 id="{name}">{name.capitalize()} surface</h2>'
        + "".join(_operation(spec, *entry) for entry in entries)
        for name, entries in groups.items()
    )
    info = spec["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(info['title'])}</h1><p>Version {html.escape(info['version'])}."
        ' The same as <a href="openapi.json">openapi.json</a>.</p>'
        f"<p>{html.escape(info['description'])}</p>{_AUTHENTICATION}"
        '<h2 id="routes">Routes</h2><input id="search" type="search" hidden'
        ' placeholder="Search: words of a path, a field or a sentence" aria-label="Search">'
        f"<nav>{lists}</nav>{sections}{_codes()}<script>{_SCRIPT}</script></body></html>"
    )


@cache
def content_security_policy() -> str:
    """Return the page's policy: its own script and style, and nothing from anywhere."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _anchor(method: str, path: str) -> str:
    return f"{method}{path}".translate(str.maketrans("/.", "--", "{}")).lower()


def _list(name: str, entries: list[tuple[str, str, dict[str, Any]]]) -> str:
    items = "".join(
        f'<li><a href="#{_anchor(method, path)}"><code>{method} {html.escape(path)}</code></a></li>'
        for method, path, _ in entries
    )
    return f'<p><a href="#{name}">{name.capitalize()} surface</a></p><ul>{items}</ul>'


def _codes() -> str:
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{html.escape(meaning)}</td></tr>'
        for code, meaning in errors.CODES.items()
    )
    return f'<h2 id="codes">Error codes</h2><table>{rows}</table>'


def _operation(spec: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    anchor = _anchor(method, path)
    parts = [
        f'<h3><a href="#{anchor}"><span class="m">{method}</span><code>{html.escape(path)}</code>',
        f"</a> {html.escape(operation['summary'])}</h3>",
        f"<p>{html.escape(operation.get('description', ''))}</p>",
        f"<p>Needs: <code>{html.escape(operation['x-needs'])}</code></p>",
    ]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><td><code>{html.escape(entry['name'])}</code></td>"
            f"<td>{html.escape(entry['in'])}</td>"
            f"<td>{html.escape(samples.type_of(spec, entry['schema']))}</td></tr>"
            for entry in parameters
        )
        parts.append(f"<table><tr><th>Parameter</th><th>In</th><th>Type</th></tr>{rows}</table>")
    body = operation.get("requestBody")
    if body:
        parts.append(_fields(spec, body["content"]["application/json"]["schema"]))
    parts.append(f"<pre>{html.escape(samples.command(spec, method, path, operation))}</pre>")
    answers = "".join(
        f"<p>{status} {html.escape(response['description'])}</p>{_sample(spec, response)}"
        for status, response in operation["responses"].items()
    )
    parts.append(f"<details><summary>Answers</summary>{answers}</details>")
    return f'<article id="{anchor}">{"".join(parts)}</article>'


def _sample(spec: dict[str, Any], response: dict[str, Any]) -> str:
    content = response.get("content", {}).get("application/json")
    if not content:
        return ""
    shape = json.dumps(samples.shape(spec, content["schema"]), indent=2)
    return f"<pre>{html.escape(shape)}</pre>"


def _fields(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    resolved = samples.resolve(spec, schema)
    required = resolved.get("required", [])
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>"
        f"{'required' if name in required else 'optional'}</td>"
        f"<td>{html.escape(samples.type_of(spec, field))}</td>"
        f"<td>{html.escape(field.get('description', ''))}</td></tr>"
        for name, field in resolved.get("properties", {}).items()
    )
    return f"<table><tr><th>Field</th><th></th><th>Type</th><th></th></tr>{rows}</table>"
