"""Build the OpenAPI document from the handlers of all groups.

`python tools/openapi.py --write` writes it to the layer, which serves it, and to docs/. Without
the flag it exits with 1 when the committed document is outdated.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import openapi_examples

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "layers/gatehouse/python"), str(ROOT / "tests")]

GROUPS = (
    "public",
    "keys_services",
    "keys_account",
    "verification",
    "keys_admin",
    "people",
    "wallets",
    "sessions",
    "federation",
    "deliveries",
    "signals",
    "webhooks",
    "health_metrics",
    "services",
    "secrets",
)
DOCUMENT = ROOT / "layers/gatehouse/python/gatehouse/web/openapi.json"
# A copy for readers of the repository: not every checkout keeps symbolic links.
COPY = ROOT / "docs/openapi.json"

_ERRORS = {
    "400": "The request is not valid; the error names the field.",
    "401": "The signature or the proof is not valid.",
    "403": "The key or its identity is not allowed to do this.",
    "404": "It does not exist, or it belongs to another account.",
    "409": "Its state does not allow this, or the Idempotency-Key was used before.",
    "410": "It has expired.",
    "413": "The body is over 256 KiB.",
    "415": "The Content-Type names another charset than UTF-8.",
    "426": "This path is a WebSocket: send an upgrade request.",
    "429": "The key's rate limit is exceeded; see Retry-After.",
    "500": "An internal error.",
}
_GATEWAY = {
    "401": "The credential is missing or not valid.",
    "503": "A temporary internal error; see Retry-After.",
}
# Statuses that cannot be derived from a route.
_ALSO = {
    ("post", "/v1/accounts"): {"403"},
    ("put", "/api/auth/providers/{name}"): {"409"},
    ("patch", "/v1/api-keys/{id}"): {"409"},
    ("post", "/admin/api-keys"): {"404"},
    ("post", "/admin/api-keys/{id}/rotate"): {"409"},
    ("post", "/admin/policy/evaluate"): {"404"},
    ("patch", "/admin/identities/{id}"): {"409"},
    ("post", "/invite"): {"401", "404", "410", "429"},
    ("post", "/auth/attach-wallet"): {"401", "409"},
    ("delete", "/auth/wallet"): {"404", "409"},
    ("post", "/auth/session"): {"409"},
    ("post", "/auth/siwe-login"): {"401", "409"},
    ("post", "/federation/inbound"): {"401", "403", "429"},
    ("get", "/admin/webhooks/deliveries"): {"404"},
    ("post", "/admin/webhooks/deliveries/{id}/replay"): {"409", "410"},
    ("post", "/emit"): {"404"},
    ("post", "/claim"): {"404", "409"},
    ("post", "/ack"): {"404", "409"},
    ("post", "/admin/webhooks/{id}/rotate-secret"): {"409"},
    ("get", "/api/services/{name}/logs"): {"426"},
    ("post", "/api/services/{name}/restart"): {"409"},
    ("delete", "/api/services/{name}"): {"409"},
}
_GATEWAY_SCHEMA = {
    "type": "object",
    "required": ["error", "status", "request_id", "code", "message", "detail"],
    "properties": {
        "error": {"type": "string"},
        "status": {"type": "integer"},
        "request_id": {"type": "string"},
        "code": {"type": "string"},
        "message": {"type": "string"},
        "detail": {"type": "string"},
    },
}
_CREDENTIALS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "hammurabi": {"type": "apiKey", "in": "header", "name": "X-Hammurabi-Api-Key"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def build() -> dict[str, Any]:
    """Merge the documents that FastAPI creates for each group, in the order of GROUPS."""
    for name in ("GATEHOUSE_KEYS_TABLE", "GATEHOUSE_MAIN_TABLE"):
        os.environ.setdefault(name, "unused")
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    from gatehouse.web import door as doors  # noqa: PLC0415 - after the path is set
    from gatehouse.web import reference, surfaces  # noqa: PLC0415
    from support.aws.invocation import load  # noqa: PLC0415

    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {
        f"{surface.name.capitalize()}Error": surface.error_schema
        for surface in (surfaces.SERVICES, surfaces.ACCOUNT, surfaces.ADMIN)
    }
    schemas["GatewayError"] = _GATEWAY_SCHEMA
    for group in GROUPS:
        door = load(group).door
        needs = {
            (method.lower(), route.path): door.needs[route.endpoint]
            for route in door.app.routes
            for method in route.methods
        }
        # Two groups may use one name for different schemas.
        prefix = "#/components/schemas/"
        text = json.dumps(door.app.openapi()).replace(prefix, prefix + _schema_prefix(group))
        found = json.loads(text)
        for name, schema in found.get("components", {}).get("schemas", {}).items():
            if name not in {"HTTPValidationError", "ValidationError"}:
                schemas[_schema_prefix(group) + name] = schema
        for path, methods in found["paths"].items():
            for method, operation in methods.items():
                requirement = needs[method, path]
                _finish(
                    operation,
                    requirement,
                    door.surface.name,
                    public=doors.public,
                    also=_ALSO.get((method, path), set()),
                )
                operation["operationId"] = f"{group}_{method}_{path.strip('/')}".translate(
                    str.maketrans("/{}.-", "_____")
                )
                paths.setdefault(path, {})[method] = operation
    _allow_empty_bodies(paths, schemas)
    openapi_examples.add_examples(paths, schemas)
    openapi_examples.add_links(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse",
            "version": reference.VERSION,
            "description": "API keys, accounts, webhooks, policy and audit on three surfaces.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _CREDENTIALS},
    }


def _allow_empty_bodies(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say where a body may be left out: an empty one counts as an empty object."""
    for methods in paths.values():
        for operation in methods.values():
            if body := operation.get("requestBody"):
                reference = body["content"]["application/json"]["schema"]["$ref"]
                schema = schemas[reference.rpartition("/")[2]]
                body["required"] = "required" in schema or "oneOf" in schema


def _schema_prefix(group: str) -> str:
    return "".join(word.capitalize() for word in group.split("_"))


def _finish(
    operation: dict[str, Any], requirement: Any, surface: str, *, public: Any, also: set[str]
) -> None:
    first, _, rest = operation["description"].partition(". ")
    operation["summary"] = first.rstrip(".")
    operation["description"] = rest or f"{first.rstrip('.')}."
    responses = operation["responses"]
    responses.pop("422", None)
    reference = {"$ref": f"#/components/schemas/{surface.capitalize()}Error"}
    # Every route refuses query parameters and fields that it does not know.
    statuses = also | {"400", "413", "415", "500"}
    gateway = {"503"}
    if requirement is public:
        operation["security"] = []
        operation["x-needs"] = "nothing"
    else:
        operation["security"] = [{name: []} for name in _CREDENTIALS]
        operation["x-needs"] = (
            requirement.__doc__ if requirement.__name__ == "check" else "any live key"
        )
        statuses |= {"403", "429"}
        gateway.add("401")
    if any(entry["in"] == "path" for entry in operation.get("parameters", [])):
        statuses.add("404")
    if "201" in responses:
        statuses.add("409")
    for status in sorted(statuses):
        responses[status] = _error(_ERRORS[status], reference)
    gateway_reference = {"$ref": "#/components/schemas/GatewayError"}
    both = {"503", *(gateway & statuses)}
    for status in sorted(gateway):
        # A handler also answers 503, with its surface's body, when the table does not respond.
        schema = {"anyOf": [reference, gateway_reference]} if status in both else gateway_reference
        responses[status] = _error(_GATEWAY[status], schema)
    operation["responses"] = dict(sorted(responses.items()))


def _error(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def text() -> str:
    """Return the document as it is committed."""
    return json.dumps(build(), indent=1, sort_keys=False) + "\n"


if __name__ == "__main__":
    current = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    wanted = text()
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(wanted)
        COPY.write_text(wanted)
    elif current != wanted:
        sys.exit("openapi.json is outdated: the handlers have changed. Run `make openapi`.")
